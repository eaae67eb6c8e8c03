//! Timed work, by a replica for which all of it is due.

use crate::World;
use clientele_api::journal::watch_request::Start;
use clientele_api::journal::{ListEntriesRequest, WatchRequest};
use clientele_api::org::{Organization, UpdateLogoRequest};
use clientele_store::connect::{Options, connect_to_migrate};
use clientele_testkit::{Engine, Running, reason, until};
use image::{ImageFormat, RgbImage};
use sea_orm::{ConnectionTrait, DatabaseConnection, Statement};
use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::Cursor;
use std::path::Path;
use std::time::{Duration, SystemTime};
use tonic::Code;
use uuid::Uuid;

const SOON: Duration = Duration::from_secs(20);
const HOUR: Duration = Duration::from_secs(3600);
/// How many there are.
const JOBS: i64 = 4;
const DONE: &str = "SELECT count(*) AS answer FROM jobs WHERE last_run > 0";

impl World {
    /// The database, by a way that may write.
    pub(crate) async fn database(&self) -> DatabaseConnection {
        let options = Options {
            url: self.service.config.database.expose().clone(),
            service: "org",
        };
        connect_to_migrate(&options).await.unwrap()
    }

    /// Waits until every job was done.
    pub(crate) async fn all_jobs_done(&self, database: &DatabaseConnection) {
        let done = Statement::from_string(database.get_database_backend(), DONE);
        until(SOON, "all jobs", async || {
            let row = database.query_one_raw(done.clone()).await.unwrap().unwrap();
            row.try_get::<i64>("", "answer").unwrap() == JOBS
        })
        .await;
    }

    /// Has every job done once more.
    pub(crate) async fn do_jobs(&self) {
        let database = self.database().await;
        self.all_jobs_done(&database).await;
        database
            .execute_unprepared("UPDATE jobs SET last_run = 0")
            .await
            .unwrap();
        let replica = Running::start(&self.service).await;
        self.all_jobs_done(&database).await;
        replica.stop().await;
    }

    pub(crate) async fn give_logo(&self, id: &str, shade: u8) -> Organization {
        let mut content = Cursor::new(Vec::new());
        RgbImage::from_pixel(8, 8, image::Rgb([shade; 3]))
            .write_to(&mut content, ImageFormat::Png)
            .unwrap();
        let request = UpdateLogoRequest {
            name: format!("workspaces/acme/organizations/{id}"),
            content_type: "image/png".into(),
            content: content.into_inner().into(),
            ..Default::default()
        };
        let answer = self.organizations().update_logo(self.admin.request(request)).await;
        answer.unwrap().into_inner()
    }

    /// The files of logos, below their folder.
    pub(crate) fn logo_files(&self) -> BTreeSet<String> {
        let mut files = BTreeSet::new();
        for folder in fs::read_dir(self.logos.path()).unwrap() {
            let folder = folder.unwrap();
            let name = folder.file_name().into_string().unwrap();
            if folder.file_type().unwrap().is_file() {
                files.insert(name);
                continue;
            }
            for file in fs::read_dir(folder.path()).unwrap() {
                files.insert(format!("{name}/{}", file.unwrap().file_name().into_string().unwrap()));
            }
        }
        files
    }
}

fn write(path: &Path, age: Duration) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, "bytes").unwrap();
    make_older(path, age);
}

pub(crate) fn make_older(path: &Path, age: Duration) {
    File::open(path).unwrap().set_modified(SystemTime::now() - age).unwrap();
}

async fn exactly_the_logos_that_nobody_has_are_removed(engine: Engine) {
    let world = World::start(engine).await;
    let folder = world.logos.path();
    let bakery = world.create_organization("bakery").await.uid;
    world.create_organization("butcher").await;
    let stale = &world.give_logo("bakery", 1).await;
    let before = world.logo_files();
    world.give_logo("bakery", 2).await;
    let butcher = world.give_logo("butcher", 3).await.uid;
    assert_eq!((stale.uid.as_str(), before.len()), (bakery.as_str(), 1));
    let mut kept: BTreeSet<String> = world.logo_files().difference(&before).cloned().collect();
    for file in world.logo_files() {
        make_older(&folder.join(file), 25 * HOUR);
    }
    // Besides the first logo of the bakery, which it has no more:
    let gone = Uuid::now_v7();
    let hash = |letter: &str| letter.repeat(64);
    let files = [
        (format!("{bakery}/{}", hash("a")), 25, false),
        (format!("{bakery}/{}", hash("b")), 23, true),
        (format!("{butcher}/.{}", Uuid::new_v4()), 25, false),
        (format!("{butcher}/.{}", Uuid::new_v4()), 23, true),
        (format!("{gone}/{}", hash("c")), 25, false),
        (format!("{}/{}", Uuid::now_v7(), hash("d")), 23, true),
        // What is not ours:
        (format!("{bakery}/README"), 25, true),
        (format!("lost+found/{}", hash("e")), 25, true),
        ("README".to_owned(), 25, true),
        (Uuid::now_v7().to_string(), 25, true),
    ];
    for (file, hours, stays) in files {
        write(&folder.join(&file), hours * HOUR);
        if stays {
            kept.insert(file);
        }
    }
    world.do_jobs().await;
    assert_eq!(world.logo_files(), kept);
    assert!(
        !folder.join(gone.to_string()).exists(),
        "the folder of an organization that is gone"
    );
}

#[tokio::test]
async fn exactly_the_logos_that_nobody_has_are_removed_on_sqlite() {
    exactly_the_logos_that_nobody_has_are_removed(Engine::Sqlite).await;
}

#[tokio::test]
async fn exactly_the_logos_that_nobody_has_are_removed_on_postgres() {
    exactly_the_logos_that_nobody_has_are_removed(Engine::Postgres).await;
}

async fn the_logos_of_many_organizations_are_looked_at(engine: Engine) {
    let world = World::start(engine).await;
    for at in 0..201 {
        let path = format!("{}/{at:064x}", Uuid::now_v7());
        write(&world.logos.path().join(path), 25 * HOUR);
    }
    world.do_jobs().await;
    assert_eq!(world.logo_files(), BTreeSet::new());
}

#[tokio::test]
async fn the_logos_of_many_organizations_are_looked_at_on_sqlite() {
    the_logos_of_many_organizations_are_looked_at(Engine::Sqlite).await;
}

#[tokio::test]
async fn the_logos_of_many_organizations_are_looked_at_on_postgres() {
    the_logos_of_many_organizations_are_looked_at(Engine::Postgres).await;
}

async fn what_the_journal_no_longer_holds_can_be_neither_watched_nor_listed(engine: Engine) {
    let world = World::start(engine).await;
    for id in ["bakery", "butcher", "grocer"] {
        world.create_organization(id).await;
    }
    let list = || {
        let request = ListEntriesRequest {
            parent: "workspaces/acme".into(),
            ..Default::default()
        };
        world.member.request(request)
    };
    let entries = world.journal().list_entries(list()).await.unwrap().into_inner().entries;
    assert_eq!(entries.len(), 3);
    let watch = |cursor: &str| {
        let request = WatchRequest {
            start: Some(Start::Cursor(cursor.to_owned())),
            ..Default::default()
        };
        world.operator.request(request)
    };
    assert!(world.journal().watch(watch(&entries[2].cursor)).await.is_ok());

    // All but the newest of them are older than they are kept.
    let days = 401_i64 * 24 * 3600 * 1_000_000;
    let age = format!("UPDATE journal SET time = time - {days} WHERE seq < (SELECT max(seq) FROM journal)");
    world.database().await.execute_unprepared(&age).await.unwrap();
    world.do_jobs().await;

    let refused = world.journal().watch(watch(&entries[2].cursor)).await.err().unwrap();
    assert_eq!(
        (refused.code(), reason(&refused).as_str()),
        (Code::OutOfRange, "CURSOR_OUT_OF_RANGE")
    );
    assert!(
        world.journal().watch(watch(&entries[1].cursor)).await.is_ok(),
        "the floor itself"
    );
    let left = world.journal().list_entries(list()).await.unwrap().into_inner();
    assert_eq!(
        (left.entries, left.next_page_token.as_str()),
        (entries[..1].to_vec(), "")
    );
}

#[tokio::test]
async fn what_the_journal_no_longer_holds_can_be_neither_watched_nor_listed_on_sqlite() {
    what_the_journal_no_longer_holds_can_be_neither_watched_nor_listed(Engine::Sqlite).await;
}

#[tokio::test]
async fn what_the_journal_no_longer_holds_can_be_neither_watched_nor_listed_on_postgres() {
    what_the_journal_no_longer_holds_can_be_neither_watched_nor_listed(Engine::Postgres).await;
}
