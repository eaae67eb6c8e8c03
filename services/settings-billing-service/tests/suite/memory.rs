//! What holds for an organization is answered from memory, and never older than who asks may know.

use crate::{ACME, BAKERY, World, coded, handoff, language, refused, service, update, update_defaults};
use clientele_api::settings::settings_service_client::SettingsServiceClient;
use clientele_api::settings::{BatchGetSettingsRequest, GetSettingsRequest, Layout, Settings};
use clientele_store::connect::{Options, connect_to_migrate};
use clientele_testkit::{Caller, Engine, Running, on_both_engines, until};
use sea_orm::{ConnectionTrait, DatabaseConnection};
use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use tonic::transport::Channel;
use tonic::{Code, Response, Status};

const SOON: Duration = Duration::from_secs(10);
/// Told apart by what they set, none of which is built in.
const LANGUAGES: [&str; 12] = ["de", "fr", "it", "es", "pt", "nl", "da", "sv", "fi", "no", "pl", "cs"];

impl World {
    /// The language that holds for `bakery`, asked for in both ways.
    async fn languages(&self) -> [String; 2] {
        let request = BatchGetSettingsRequest {
            parent: ACME.into(),
            names: vec![format!("{BAKERY}/settings")],
        };
        let batch = self.settings().batch_get_settings(self.member.request(request)).await;
        let batch = batch.unwrap().into_inner().settings.remove(0);
        [self.get().await.unwrap(), batch].map(|settings| settings.effective.unwrap().language().to_owned())
    }

    /// Gives these organizations German, until the process is sure that it hears of everything and remembers it.
    async fn remember(&self, session: &DatabaseConnection, organizations: &[&str]) {
        for _ in 0..1000 {
            for organization in organizations {
                self.set_of(organization, "it").await;
                self.set_of(organization, "de").await;
            }
            if self.remembers(session, organizations).await {
                return;
            }
        }
        panic!("it is not remembered");
    }

    async fn remembers(&self, session: &DatabaseConnection, organizations: &[&str]) -> bool {
        for organization in organizations {
            self.get_of(organization).await.unwrap();
            session.execute_unprepared(HIDE).await.unwrap();
            let got = self.get_of(organization).await.unwrap();
            session.execute_unprepared(SHOW).await.unwrap();
            if language_of(got) != "de" {
                return false;
            }
        }
        true
    }

    async fn set_of(&self, organization: &str, code: &str) {
        let mut request = update(language(code));
        request.settings.as_mut().unwrap().name = format!("{organization}/settings");
        self.update(request).await.unwrap();
    }
}

/// A change that no journal tells, and back.
const HIDE: &str = "UPDATE settings_organizations SET language = 'fr' WHERE language = 'de'";
const SHOW: &str = "UPDATE settings_organizations SET language = 'de' WHERE language = 'fr'";

fn language_of(settings: Settings) -> String {
    settings.effective.unwrap().language().to_owned()
}

#[tokio::test]
async fn what_is_remembered_is_read_again_when_it_or_its_defaults_change() {
    on_both_engines(async |engine| {
        let world = World::start(engine).await;
        let session = world.session().await;
        // What changes in one organization is no business of the others; more than once, since a process may be unsure for a moment.
        for attempt in 0.. {
            let butcher = format!("{ACME}/organizations/butcher-{attempt}");
            world.feed.create_organization(world.acme, &butcher);
            world.hear().await;
            world.remember(&session, &[BAKERY, &butcher]).await;
            session.execute_unprepared(HIDE).await.unwrap();
            world.set_of(&butcher, "it").await;
            assert_eq!(language_of(world.get_of(&butcher).await.unwrap()), "it");
            if world.languages().await == ["de", "de"] {
                break;
            }
            assert!(attempt < 10, "one lets the other be read");
        }
        // What changes above is everybody's, whatever it is.
        world.set_defaults(handoff(Some(true), None)).await.unwrap();
        assert_eq!(world.languages().await, ["fr", "fr"]);
        world.set_of(BAKERY, "es").await;
        assert_eq!(world.languages().await, ["es", "es"]);
    })
    .await;
}

#[tokio::test]
async fn what_was_written_is_seen_by_the_next_look() {
    on_both_engines(async |engine| {
        let world = World::start(engine).await;
        for code in LANGUAGES.repeat(3) {
            // Twice: what the first one found is remembered.
            world.set_defaults(language(code)).await.unwrap();
            for _ in 0..2 {
                assert_eq!(world.languages().await, [code; 2]);
            }
            world.set(language("ar")).await.unwrap();
            for _ in 0..2 {
                assert_eq!(world.languages().await, ["ar"; 2]);
            }
            world.clear(&["overrides.language"]).await.unwrap();
            for _ in 0..2 {
                assert_eq!(world.languages().await, [code; 2]);
            }
        }
    })
    .await;
}

/// Readers, who may be slow, while somebody writes on both levels.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn readers_never_get_less_than_had_been_told_when_they_began() {
    for engine in [Engine::Sqlite, Engine::Postgres] {
        let world = World::start(engine).await;
        let written = Arc::new([AtomicUsize::new(0), AtomicUsize::new(0)]);
        let readers: Vec<_> = (0..8)
            .map(|_| {
                let (mut client, caller) = (world.settings(), world.member.clone());
                let written = written.clone();
                tokio::spawn(async move {
                    loop {
                        let [own, above] = [0, 1].map(|level| written[level].load(Ordering::SeqCst));
                        let request = GetSettingsRequest {
                            name: format!("{BAKERY}/settings"),
                        };
                        let got = client.get_settings(caller.request(request)).await.unwrap().into_inner();
                        assert!(
                            got.version >= own as i64,
                            "{got:?} was read, {own} had been told before"
                        );
                        let got = language_of(got);
                        let got = LANGUAGES.iter().position(|code| *code == got).map_or(0, |at| at + 1);
                        assert!(got >= above, "{got} was read, {above} had been told before");
                        if above == LANGUAGES.len() {
                            return;
                        }
                        tokio::task::yield_now().await;
                    }
                })
            })
            .collect();
        for (at, code) in LANGUAGES.iter().enumerate() {
            for turn in 0..5 {
                let set = world.set(handoff(Some(turn % 2 == 0), None)).await.unwrap();
                written[0].store(set.version as usize, Ordering::SeqCst);
            }
            world.set_defaults(language(code)).await.unwrap();
            written[1].store(at + 1, Ordering::SeqCst);
        }
        for reader in readers {
            reader.await.unwrap();
        }
    }
}

#[tokio::test]
async fn a_name_that_is_free_again_leads_to_nothing_of_its_former_owner() {
    on_both_engines(async |engine| {
        let world = World::start(engine).await;
        let session = world.session().await;
        world.remember(&session, &[BAKERY]).await;
        world.purge_bakery();
        world.hear().await;
        let status = world.get().await.unwrap_err();
        assert_eq!(coded(status), refused(Code::NotFound, "RESOURCE_NOT_FOUND"));
        let second = world.feed.create_organization(world.acme, BAKERY);
        world.hear().await;
        let settings = world.get().await.unwrap();
        assert_eq!((settings.uid, settings.version), (second.uid, 0));
        assert_eq!(world.languages().await, ["en"; 2]);
    })
    .await;
}

/// Two replicas on one database.
struct Two {
    world: World,
    running: [Running; 2],
    here: SettingsServiceClient<Channel>,
    there: SettingsServiceClient<Channel>,
    turn: Cell<usize>,
}

impl Two {
    async fn start(world: World) -> Self {
        let replica = service(&world.database, &world.feed, &world.tokens);
        let running = [Running::start(&replica).await, Running::start(&replica).await];
        let client = async |at: usize| SettingsServiceClient::new(running[at].channel().await);
        let (here, there) = (client(0).await, client(1).await);
        let two = Self {
            world,
            here,
            there,
            running,
            turn: Cell::new(0),
        };
        for replica in [&two.here, &two.there] {
            two.look(replica, &two.world.informed(&two.world.member)).await.unwrap();
        }
        two
    }

    async fn get(&self, replica: &SettingsServiceClient<Channel>, caller: &Caller) -> Result<Settings, Status> {
        let request = GetSettingsRequest {
            name: format!("{BAKERY}/settings"),
        };
        let answer = replica.clone().get_settings(caller.request(request)).await;
        answer.map(Response::into_inner)
    }

    /// The language that holds, as this replica says.
    async fn look(&self, replica: &SettingsServiceClient<Channel>, caller: &Caller) -> Result<String, Status> {
        self.get(replica, caller).await.map(language_of)
    }

    /// Changes the language that holds: by an override, by clearing that, and by a default, in turn. Answers somebody who knows of it,
    /// and the language.
    async fn change(&self) -> (Caller, &'static str) {
        let turn = self.turn.replace(self.turn.get() + 1);
        let code = |turn: usize| LANGUAGES[turn % LANGUAGES.len()];
        let (admin, mut here) = (&self.world.admin, self.here.clone());
        let (headers, expected) = match turn % 3 {
            0 => {
                let set = admin.request(update(language(code(turn))));
                let answer = here.update_settings(set).await.unwrap();
                (answer.metadata().clone(), code(turn))
            }
            1 => {
                let mut clear = update(Default::default());
                clear.update_mask = crate::mask(&["overrides.language"]);
                let answer = here.update_settings(admin.request(clear)).await.unwrap();
                (answer.metadata().clone(), if turn < 3 { "en" } else { code(turn - 2) })
            }
            _ => {
                let set = admin.request(update_defaults(language(code(turn))));
                let answer = here.update_workspace_settings(set).await.unwrap();
                (answer.metadata().clone(), code(turn))
            }
        };
        let revision = headers.get("clientele-revision").unwrap().to_str().unwrap();
        let who_made_it = Caller {
            min_revision: Some(revision.to_owned()),
            ..self.world.member.clone()
        };
        (who_made_it, expected)
    }

    /// Makes changes here: they are seen here at once, there at once by who made them, and there by everybody soon; answers how soon.
    async fn exchange(&self, changes: usize) -> Vec<Duration> {
        let anybody = self.world.member.clone();
        let mut lags = Vec::new();
        for number in 0..changes {
            // So that it is remembered there.
            self.look(&self.there, &anybody).await.unwrap();
            let (who_made_it, expected) = self.change().await;
            // Every second time nobody asks so there: who does gets it read, and remembered, for all.
            if number % 6 < 3 {
                assert_eq!(self.look(&self.there, &who_made_it).await.unwrap(), expected);
            }
            assert_eq!(self.look(&self.here, &anybody).await.unwrap(), expected);
            let began = Instant::now();
            while self.look(&self.there, &anybody).await.unwrap() != expected {
                assert!(began.elapsed() < SOON, "the other replica does not hear of it");
            }
            lags.push(began.elapsed());
        }
        lags
    }

    async fn stop(self) {
        for running in self.running {
            running.stop().await;
        }
    }
}

fn show(what: &str, mut lags: Vec<Duration>) {
    lags.sort();
    let at = |percent: usize| lags[(lags.len() - 1) * percent / 100];
    println!(
        "{what}: seen after {:?} (p50), {:?} (p99), {:?} at most",
        at(50),
        at(99),
        at(100)
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_that_remembers_hears_of_what_the_other_changes() {
    let two = Two::start(World::start(Engine::Postgres).await).await;
    show("a change at another replica", two.exchange(240).await);
    two.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_that_nobody_wakes_looks_by_itself() {
    let world = World::start(Engine::Postgres).await;
    // Whoever connects from here on finds a pg_notify that does nothing.
    let deaf = "CREATE FUNCTION public.pg_notify(text, text) RETURNS void LANGUAGE sql AS ''; \
        DO $$ BEGIN \
            EXECUTE format('ALTER DATABASE %I SET search_path = public, pg_catalog', current_database()); \
        END $$";
    world.session().await.execute_unprepared(deaf).await.unwrap();
    let two = Two::start(world).await;
    show("a change that nobody is woken by", two.exchange(24).await);
    two.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn memory_stands_aside_while_nobody_can_wake_it() {
    let two = Two::start(World::start(Engine::Postgres).await).await;
    let session = two.world.session().await;
    let anybody = two.world.member.clone();
    let (url, database) = two.world.database.url.rsplit_once('/').unwrap();
    let server = Options {
        url: format!("{url}/postgres"),
        service: "settings",
    };
    let server = connect_to_migrate(&server).await.unwrap();
    let on_the_server = async |sql: String| server.execute_unprepared(&sql).await.unwrap();
    let allow = |allowed: bool| format!("ALTER DATABASE {database} ALLOW_CONNECTIONS {allowed}");
    let deafen = format!(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{database}' AND query ILIKE 'listen %'"
    );
    // Changes that no journal tells show who answers.
    let set = "INSERT INTO settings_workspaces (workspace_uid, workspace_id, version, create_time, update_time) \
        SELECT uid, id, 1, 0, 0 FROM projection_workspaces";
    session.execute_unprepared(set).await.unwrap();
    let turn = async |layout: Layout| {
        let sql = format!("UPDATE settings_workspaces SET layout = {}", i32::from(layout));
        session.execute_unprepared(&sql).await.unwrap();
    };
    is_remembered(&two, &turn).await;
    // Nobody can connect any more; those who have go on, except for who listens.
    on_the_server(allow(false)).await;
    on_the_server(deafen).await;
    for replica in [&two.here, &two.there] {
        // As long as the connections that are left are busy, others cannot be made: then a call is to be tried again.
        let look = async || {
            let answer = Cell::new(Layout::Unspecified);
            let is_answered = async || match two.get(replica, &anybody).await {
                Ok(settings) => {
                    answer.set(settings.effective.unwrap().layout());
                    true
                }
                Err(error) => {
                    assert_eq!(error.code(), Code::Unavailable, "{error:?}");
                    false
                }
            };
            until(SOON, "it is answered", is_answered).await;
            answer.into_inner()
        };
        let stands_aside = async || {
            // Twice: the first look may be the one that is remembered.
            let mut read = true;
            for layout in [Layout::Horizontal, Layout::Vertical] {
                turn(layout).await;
                read &= look().await == layout;
            }
            read
        };
        until(SOON, "memory stands aside", stands_aside).await;
        for layout in [Layout::Horizontal, Layout::Vertical].repeat(10) {
            turn(layout).await;
            assert_eq!(look().await, layout);
        }
    }
    on_the_server(allow(true)).await;
    is_remembered(&two, &turn).await;
    two.exchange(24).await;
    server.close().await.unwrap();
    two.stop().await;
}

/// Waits until it is remembered there.
async fn is_remembered(two: &Two, turn: &impl AsyncFn(Layout)) {
    let anybody = &two.world.member;
    let layout = async |caller: &Caller| {
        let settings = two.get(&two.there, caller).await.unwrap();
        settings.effective.unwrap().layout()
    };
    let is_remembered = async || {
        turn(Layout::Vertical).await;
        let (who_made_it, _) = two.change().await;
        assert_eq!(layout(&who_made_it).await, Layout::Vertical);
        turn(Layout::Horizontal).await;
        let remembered = layout(anybody).await == Layout::Vertical;
        // What the journal tells lets it be read again.
        let (who_made_it, _) = two.change().await;
        assert_eq!(layout(&who_made_it).await, Layout::Horizontal);
        remembered
    };
    until(SOON, "it is remembered", is_remembered).await;
}
