//! A service that follows another over mutual TLS.

use crate::LIMIT;
use crate::certificates::{Ca, Files};
use crate::probe::{Client, Probe, logged};
use clientele_store::connect::Options;
use clientele_store::follow::{CreatePeopleProjections, CreateProjections, CreateTeamProjections, Followed, Follower};
use clientele_store::journal::CreateJournal;
use clientele_store::{Db, migrate};
use clientele_testkit::{Database, Engine, Proxy, until};
use sea_orm_migration::{MigrationTrait, MigratorTrait};
use tokio_util::sync::CancellationToken;

struct Migrator;

impl MigratorTrait for Migrator {
    fn migrations() -> Vec<Box<dyn MigrationTrait>> {
        vec![
            Box::new(CreateJournal),
            Box::new(CreateProjections),
            Box::new(CreatePeopleProjections),
            Box::new(CreateTeamProjections),
        ]
    }
}

async fn hears(followed: &Followed, entries: i64, what: &str) {
    until(LIMIT, what, async || followed.wait(1, entries).await.is_ok()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_follower_comes_back_with_renewed_certificates() {
    let (old, new) = (Ca::new("old"), Ca::new("new"));
    let server = Files::new(&old.server(), &old);
    let probe = Probe::start(server.mutual_tls()).await;
    let proxy = Proxy::start(&probe.url()).await;
    let own = Files::new(&old.client(), &old);
    own.write("token", &probe.tokens.service("assignment-service"));
    let database = Database::create(Engine::Sqlite).await;
    let options = Options {
        url: database.url.clone(),
        service: "assignment",
    };
    migrate::up::<Migrator>(&options).await.unwrap();
    let db = Db::connect(&options).await.unwrap();
    let stop = CancellationToken::new();
    let peer = own.peer(proxy.url(&probe.url())).peer().unwrap();
    let followed = Follower::start(&db, peer, stop.clone()).await.unwrap();
    probe.tell(1);
    hears(&followed, 1, "it follows over mutual TLS").await;

    server.write_identity(&new.server());
    server.write("ca.pem", &new.pem());
    let others = Client::new(&[&old, &new], Some(&old.client()));
    until(LIMIT, "the old CA is no good any more", async || {
        others.refusal(probe.address).await.contains("UnknownCA")
    })
    .await;
    probe.tell(2);
    hears(&followed, 2, "its stream goes on").await;

    proxy.cut();
    proxy.restore();
    probe.tell(3);
    until(LIMIT, "the server's new certificate is not believed", async || {
        logged(&["following begins again", "UnknownIssuer"]) > 0
    })
    .await;
    own.write_identity(&new.client());
    own.write("ca.pem", &new.pem());
    hears(&followed, 3, "it comes back with what its files say now").await;
    stop.cancel();
    db.close().await;
}
