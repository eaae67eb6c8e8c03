//! What somebody who guesses passwords costs everybody else.

use crate::Bench;
use crate::permissions::{ask, fill};
use crate::table::{Series, Table};
use crate::world::{Database, Engine, World};
use anyhow::Result;
use clientele_api::org::CreateSessionRequest;
use clientele_api::org::session_service_client::SessionServiceClient;
use clientele_testkit::reason;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::time::{MissedTickBehavior, interval};
use tonic::transport::Channel;

/// Between two wrong passwords: a thousand in a second.
const BETWEEN: Duration = Duration::from_millis(1);

/// How the tries were answered, by reason.
type Answers = Arc<Mutex<BTreeMap<String, u64>>>;

/// Measures TestPermissions while nobody guesses, while a thousand guesses a second are made for one account, and for a thousand
/// accounts in turn, each guess from another address: so that all that protects is that hashing is bounded and gives way.
pub(crate) async fn measure(bench: &Bench, table: &mut Table) -> Result<()> {
    let engine = Engine::Postgres(&bench.postgres);
    let database = Database::create(engine).await?;
    let world = World::start(&database, bench).await?;
    let members = Arc::new(fill(&world).await?);
    let [mut calm, mut one, mut many]: [Series; 3] = Default::default();
    let (answers_of_one, answers_of_many) = (Answers::default(), Answers::default());
    for _ in 0..bench.rounds {
        calm.add(ask(bench, &world, &members).await?);
        let guesses = tokio::spawn(guess(
            world.connection()?,
            world.service.clone(),
            1,
            answers_of_one.clone(),
        ));
        one.add(ask(bench, &world, &members).await?);
        guesses.abort();
        let guesses = tokio::spawn(guess(
            world.connection()?,
            world.service.clone(),
            1_000,
            answers_of_many.clone(),
        ));
        many.add(ask(bench, &world, &members).await?);
        guesses.abort();
    }
    table.ceiling("TestPermissions, 32 in flight, nobody guesses", &calm);
    for (row, series, answers) in [
        ("1 000 wrong passwords a second, one account", &one, answers_of_one),
        ("1 000 wrong passwords a second, 1 000 accounts", &many, answers_of_many),
    ] {
        let answers = answers.lock().unwrap_or_else(PoisonError::into_inner);
        let answers: Vec<_> = answers
            .iter()
            .map(|(reason, count)| format!("{count} {reason}"))
            .collect();
        let row = format!("the same, {row} ({})", answers.join(", "));
        table.ratio(&row, series, ("nobody guesses", &[&calm]), Some(0.90));
    }
    world.stop().await;
    database.remove().await
}

async fn guess(connection: Channel, caller: clientele_testkit::Caller, accounts: usize, answers: Answers) {
    let mut ticks = interval(BETWEEN);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    for at in 0_usize.. {
        ticks.tick().await;
        let mut request = caller.request(CreateSessionRequest {
            parent: "workspaces/acme".to_owned(),
            email: format!(
                "person-{}-{}@friendly-bakery.example",
                at % accounts / 100,
                at % accounts % 100
            ),
            password: "not this person's password".to_owned(),
            organization: String::new(),
        });
        let address = format!("10.{}.{}.{}", at >> 16 & 255, at >> 8 & 255, at & 255);
        if let Ok(address) = address.parse() {
            request.metadata_mut().insert("clientele-client-address", address);
        }
        let (mut client, answers) = (SessionServiceClient::new(connection.clone()), answers.clone());
        tokio::spawn(async move {
            let answer = client.create_session(request).await;
            let answer = answer.map_or_else(|status| reason(&status), |_| "let in".to_owned());
            *answers
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .entry(answer)
                .or_default() += 1;
        });
    }
}
