//! Teams: their keys, their members, and who is picked of them.

use crate::{Person, World};
use clientele_api::journal::watch_request::Start;
use clientele_api::journal::watch_response::Item;
use clientele_api::journal::{ChangeKind, Entry, InitialState, ListEntriesRequest, WatchRequest};
use clientele_api::org::{CreateTeamRequest, PickAssigneeRequest, Team};
use clientele_testkit::{Caller, on_both_engines, patiently, reason};
use futures::future::{join, join_all};
use prost::{Message as _, Name as _};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use tonic::{Code, Status};
use tonic_types::StatusExt;
use uuid::Uuid;

const BAKERY: &str = "workspaces/acme/organizations/bakery";
const CREATE: &str = "TeamService/CreateTeam";
const UPDATE: &str = "TeamService/UpdateTeam";
const GET: &str = "TeamService/GetTeam";
const ADD: &str = "TeamService/AddTeamMembers";
const REMOVE: &str = "TeamService/RemoveTeamMembers";
const PICK: &str = "TeamService/PickAssignee";
/// As many as call at the same moment.
const CALLERS: usize = 64;

fn new(key: &str, label: &str, members: &[&Person]) -> Value {
    json!({ "parent": BAKERY, "teamId": key, "team": { "label": label, "members": users(members) } })
}

fn users(people: &[&Person]) -> Vec<String> {
    people.iter().map(|person| person.user.clone()).collect()
}

fn team(key: &str) -> Value {
    json!({ "name": format!("{BAKERY}/teams/{key}") })
}

fn rename(from: &str, to: &str) -> Value {
    json!({ "team": { "name": format!("{BAKERY}/teams/{from}"), "key": to } })
}

fn with(key: &str, people: &[&Person]) -> Value {
    json!({ "name": format!("{BAKERY}/teams/{key}"), "members": users(people) })
}

/// The name, key and aliases.
fn called(team: &Value) -> (&str, &str, Vec<&str>) {
    let name = team["name"].as_str().unwrap();
    let key = team["key"].as_str().unwrap();
    (name.rsplit('/').next().unwrap(), key, texts(&team["aliases"]))
}

/// What an entry of the journal tells.
fn told(entry: &Entry) -> Vec<(String, i64, ChangeKind)> {
    let changes = entry.changes.iter();
    changes
        .map(|change| (change.resource.clone(), change.version, change.kind()))
        .collect()
}

/// A list of texts.
fn texts(list: &Value) -> Vec<&str> {
    let list = list.as_array().unwrap();
    list.iter().map(|text| text.as_str().unwrap()).collect()
}

impl World {
    /// A world with the organizations `bakery` and `butcher`.
    async fn with_organizations(engine: clientele_testkit::Engine) -> Self {
        let world = Self::start(engine).await;
        for id in ["bakery", "butcher"] {
            world.create_organization(id).await;
        }
        world
    }

    async fn people<const N: usize>(&self, names: [&str; N]) -> [Person; N] {
        let mut people = Vec::new();
        for name in names {
            people.push(self.add("bakery", &format!("{name}@example.com"), &[]).await);
        }
        people.try_into().unwrap_or_else(|_| panic!("as many as names"))
    }

    async fn come(&self, person: &Person) {
        self.set_presence(person, "PRESENCE_ONLINE").await;
    }

    async fn set_presence(&self, person: &Person, presence: &str) {
        let request = json!({ "name": person.member, "presence": presence });
        let answered = self.call(&self.operator, "MemberService/SetPresence", request).await;
        answered.unwrap();
    }

    /// A conversation router.
    fn router(&self) -> Caller {
        Caller::with(self.tokens.service("router"))
    }

    async fn pick(&self, key: &str) -> Result<String, Status> {
        let request = PickAssigneeRequest {
            name: format!("{BAKERY}/teams/{key}"),
            request_id: Uuid::new_v4().to_string(),
            ..Default::default()
        };
        let picked = patiently(|| async {
            let request = self.router().request(request.clone());
            self.teams().pick_assignee(request).await
        });
        Ok(picked.await?.into_inner().member)
    }

    async fn refused_by_reason(&self, method: &str, request: Value, code: Code, why: &str) {
        self.refused(&self.admin, method, request, code, why).await;
    }

    async fn newest_entry(&self) -> Entry {
        let request = ListEntriesRequest {
            parent: BAKERY.to_owned(),
            page_size: 1,
            ..Default::default()
        };
        let page = self.journal().list_entries(self.member.request(request)).await;
        page.unwrap().into_inner().entries.remove(0)
    }

    /// All teams that there are, as a follower hears of them first.
    async fn snapshots(&self) -> Vec<Team> {
        let request = WatchRequest {
            start: Some(Start::InitialState(InitialState {})),
            types: vec![Team::full_name()],
            ..Default::default()
        };
        let watch = self.journal().watch(self.operator.request(request)).await;
        let mut feed = watch.unwrap().into_inner();
        let mut teams = Vec::new();
        while let Some(Item::Entry(entry)) = feed.message().await.unwrap().unwrap().item {
            for change in entry.changes {
                assert_eq!(change.kind(), ChangeKind::Snapshot);
                teams.push(Team::decode(change.after.unwrap().value.as_slice()).unwrap());
            }
        }
        teams
    }

    async fn keys(&self, request: Value) -> Vec<String> {
        let page = self.done("TeamService/ListTeams", request).await;
        let teams = page["teams"].as_array().cloned().unwrap_or_default();
        teams
            .iter()
            .map(|team| team["key"].as_str().unwrap().to_owned())
            .collect()
    }
}

#[tokio::test]
async fn a_team_is_read_back_as_it_was_created() {
    on_both_engines(async |engine| {
        let world = World::with_organizations(engine).await;
        let [ann, ben, carl] = world.people(["ann", "ben", "carl"]).await;
        let mut request = new("second_level", "Second level", &[&carl, &ann]);
        request["team"]["description"] = "Hard questions.\nOnly.".into();
        request["team"]["version"] = "7".into();
        let created = world.done(CREATE, request).await;
        assert_eq!(called(&created), ("second_level", "second_level", vec![]));
        let text = |field: &str| created[field].as_str().unwrap();
        assert_eq!((text("version"), text("label")), ("1", "Second level"));
        assert_eq!(text("description"), "Hard questions.\nOnly.");
        let mut sorted = users(&[&carl, &ann]);
        sorted.sort();
        assert_eq!(created["members"], json!(sorted));
        for caller in [&world.member, &world.router(), &ben.caller] {
            let read = world.call(caller, GET, team("second_level")).await.unwrap();
            assert_eq!(read, created);
        }
        for missing in ["first_level", "Second", "second-level"] {
            let why = "RESOURCE_NOT_FOUND";
            world.refused_by_reason(GET, team(missing), Code::NotFound, why).await;
        }
    })
    .await;
}

#[tokio::test]
async fn keys_are_derived_and_made_unique() {
    on_both_engines(async |engine| {
        let world = World::with_organizations(engine).await;
        let create = async |label: &str| {
            let mut request = new("", label, &[]);
            request["requestId"] = Uuid::new_v4().to_string().into();
            let created = patiently(|| world.call(&world.admin, CREATE, request.clone())).await;
            created.unwrap()["key"].as_str().unwrap().to_owned()
        };
        assert_eq!(create("Süd & Nord").await, "sud_nord");
        let second = create("Süd & Nord").await;
        assert!(second.starts_with("sud_nord_") && second.len() == 15, "{second}");
        assert_eq!(create("2nd").await, "team_2nd");
        let random = create("支援").await;
        assert!(random.starts_with("team_") && random.len() == 11, "{random}");
        // Also what a team had before is taken.
        world.done(UPDATE, rename("team_2nd", "second")).await;
        assert!(create("2nd").await.starts_with("team_2nd_"));
        // Many at once, all of one label.
        let more = join_all((0..16).map(|_| create("Sales"))).await;
        assert_eq!(BTreeSet::from_iter(&more).len(), 16, "{more:?}");
    })
    .await;
}

#[tokio::test]
async fn a_key_that_it_had_still_names_the_team() {
    on_both_engines(async |engine| {
        let world = World::with_organizations(engine).await;
        let [ann, ben] = world.people(["ann", "ben"]).await;
        world.come(&ann).await;
        let created = world.done(CREATE, new("sales", "Sales", &[&ann])).await;
        let renamed = world.done(UPDATE, rename("sales", "selling")).await;
        assert_eq!(called(&renamed), ("selling", "selling", vec!["sales"]));
        assert_eq!(
            (&renamed["uid"], &renamed["version"]),
            (&created["uid"], &json!("2")),
            "it is the same"
        );
        // Every method takes the alias, and answers the name that it has now.
        assert_eq!(world.done(GET, team("sales")).await, renamed);
        assert_eq!(world.pick("sales").await.unwrap(), ann.member);
        let more = world.done(ADD, with("sales", &[&ben])).await;
        assert_eq!(called(&more), ("selling", "selling", vec!["sales"]));
        let fewer = world.done(REMOVE, with("sales", &[&ben])).await;
        assert_eq!((&fewer["name"], &fewer["version"]), (&renamed["name"], &json!("4")));
        let shop = world.done(UPDATE, rename("sales", "shop")).await;
        assert_eq!(called(&shop), ("shop", "shop", vec!["sales", "selling"]));
        // It may take a key back: then it is no alias any more.
        let back = world.done(UPDATE, rename("selling", "sales")).await;
        assert_eq!(called(&back), ("sales", "sales", vec!["selling", "shop"]));
        assert_eq!(world.done(GET, team("shop")).await, back);
        assert_eq!(world.keys(json!({ "parent": BAKERY })).await, ["sales"]);
        // Deleted by an alias, it leaves all of its keys to others.
        world.done("TeamService/DeleteTeam", team("shop")).await;
        for key in ["sales", "selling", "shop"] {
            let gone = "RESOURCE_NOT_FOUND";
            world.refused_by_reason(GET, team(key), Code::NotFound, gone).await;
            let other = world.done(CREATE, new(key, "Other", &[])).await;
            assert_ne!(other["uid"], created["uid"]);
        }
    })
    .await;
}

#[tokio::test]
async fn no_two_teams_have_the_same_key_or_alias() {
    on_both_engines(async |engine| {
        let world = World::with_organizations(engine).await;
        for (key, later) in [("first", "one"), ("second", "two")] {
            world.done(CREATE, new(key, "Team", &[])).await;
            world.done(UPDATE, rename(key, later)).await;
        }
        let taken = async |method: &str, request: Value| {
            let status = world
                .refused(&world.admin, method, request, Code::AlreadyExists, "RESOURCE_EXISTS")
                .await;
            let field = status.get_details_error_info().unwrap().metadata["field"].clone();
            (status.get_details_resource_info().unwrap().resource_name, field)
        };
        for key in ["one", "first"] {
            let about = |field: &str| (format!("{BAKERY}/teams/{key}"), field.to_owned());
            assert_eq!(taken(CREATE, new(key, "Third", &[])).await, about("team_id"));
            assert_eq!(taken(UPDATE, rename("two", key)).await, about("team.key"));
            let mut preview = new(key, "Third", &[]);
            preview["validateOnly"] = true.into();
            assert_eq!(taken(CREATE, preview).await, about("team_id"), "a preview sees it too");
        }
        assert_eq!(
            called(&world.done(GET, team("two")).await),
            ("two", "two", vec!["second"])
        );
        // In another organization they are free.
        let mut elsewhere = new("first", "Third", &[]);
        elsewhere["parent"] = "workspaces/acme/organizations/butcher".into();
        world.done(CREATE, elsewhere).await;
        // Of those who want the same key at the same moment one gets it.
        let want = async |team: &str| {
            let mut request = rename(team, "three");
            request["requestId"] = Uuid::new_v4().to_string().into();
            patiently(|| world.call(&world.admin, UPDATE, request.clone())).await
        };
        let (one, two) = join(want("one"), want("two")).await;
        let (done, late): (Vec<_>, Vec<_>) = [one, two].into_iter().partition(Result::is_ok);
        assert_eq!(
            (done.len(), reason(late[0].as_ref().unwrap_err())),
            (1, "RESOURCE_EXISTS".to_owned())
        );
    })
    .await;
}

#[tokio::test]
async fn a_team_has_at_most_20_aliases() {
    on_both_engines(async |engine| {
        let world = World::with_organizations(engine).await;
        world.done(CREATE, new("key", "Team", &[])).await;
        for at in 0..20 {
            world.done(UPDATE, rename("key", &format!("key_{at}"))).await;
        }
        let status = world
            .refused(
                &world.admin,
                UPDATE,
                rename("key", "key_20"),
                Code::ResourceExhausted,
                "LIMIT_REACHED",
            )
            .await;
        let figures = status.get_details_error_info().unwrap().metadata;
        assert_eq!((&*figures["limit"], &*figures["used"]), ("20", "20"));
        let back = world.done(UPDATE, rename("key", "key_7")).await;
        assert_eq!(called(&back).2.len(), 20);
    })
    .await;
}

#[tokio::test]
async fn an_update_changes_what_it_names() {
    on_both_engines(async |engine| {
        let world = World::with_organizations(engine).await;
        let [ann, ben] = world.people(["ann", "ben"]).await;
        let created = world.done(CREATE, new("sales", "Sales", &[&ann])).await;
        let update = |fields: Value, paths: Option<&str>| {
            let mut message = fields;
            message["name"] = created["name"].clone();
            match paths {
                Some(paths) => json!({ "team": message, "updateMask": paths }),
                None => json!({ "team": message }),
            }
        };
        let changed = world
            .done(
                UPDATE,
                update(json!({ "label": "Shop", "members": users(&[&ben]) }), None),
            )
            .await;
        assert_eq!((&changed["label"], &changed["version"]), (&json!("Shop"), &json!("2")));
        assert_eq!(changed["members"], json!([ben.user]), "the list is replaced");
        // Again: nothing changes, and nothing is told.
        let rows = world.journal_rows().await;
        assert_eq!(
            world.done(UPDATE, update(json!({ "label": "Shop" }), None)).await,
            changed
        );
        assert_eq!(world.journal_rows().await, rows);
        let cleared = world.done(UPDATE, update(json!({}), Some("members,description"))).await;
        assert_eq!((texts(&cleared["members"]), &cleared["version"]), (vec![], &json!("3")));
        // A stale etag, a wrong one, the present one.
        for etag in [&created["etag"], &json!("x")] {
            let stale = update(json!({ "label": "Old", "etag": etag }), None);
            world
                .refused_by_reason(UPDATE, stale, Code::Aborted, "ETAG_MISMATCH")
                .await;
            for (method, mut request) in [
                ("TeamService/DeleteTeam", team("sales")),
                (ADD, with("sales", &[&ann])),
                (REMOVE, with("sales", &[&ann])),
            ] {
                request["etag"] = etag.clone();
                world
                    .refused_by_reason(method, request, Code::Aborted, "ETAG_MISMATCH")
                    .await;
            }
        }
        let present = update(json!({ "label": "New", "etag": cleared["etag"] }), None);
        let before = world.done(GET, team("sales")).await;
        let mut preview = present.clone();
        preview["validateOnly"] = true.into();
        let previewed = world.done(UPDATE, preview).await;
        assert_eq!((&previewed["label"], &previewed["uid"]), (&json!("New"), &json!("")));
        assert_eq!(world.done(GET, team("sales")).await, before);
        assert_eq!(world.done(UPDATE, present).await["version"], "4");
        for bad in [
            update(json!({}), None),
            update(json!({ "key": "Sales" }), None),
            update(json!({ "label": "" }), None),
            update(json!({ "members": ["ann"] }), None),
            update(json!({ "members": users(&[&ann, &ann]) }), None),
            update(json!({ "label": "New" }), Some("key")),
            update(json!({ "label": "New" }), Some("aliases")),
            update(json!({ "label": "New" }), Some("*")),
        ] {
            world
                .refused_by_reason(UPDATE, bad, Code::InvalidArgument, "INVALID_FIELDS")
                .await;
        }
    })
    .await;
}

#[tokio::test]
async fn only_members_of_the_organization_are_in_its_teams() {
    on_both_engines(async |engine| {
        let world = World::with_organizations(engine).await;
        let [ann, ben, carl] = world.people(["ann", "ben", "carl"]).await;
        let dora = world.add("butcher", "dora@example.com", &[]).await;
        let suspended = json!({ "name": ben.member });
        world.done("MemberService/SuspendMember", suspended).await;
        world
            .done("MemberService/RemoveMember", json!({ "name": carl.member }))
            .await;
        world.done(CREATE, new("sales", "Sales", &[&ann, &ben])).await;
        let nobody = Person {
            user: Uuid::now_v7().to_string(),
            ..dora.clone()
        };
        for stranger in [&carl, &dora, &nobody] {
            let mut replaced = team("sales");
            replaced["members"] = json!(users(&[&ann, stranger]));
            for (method, request) in [
                (CREATE, new("other", "Other", &[&ann, stranger])),
                (UPDATE, json!({ "team": replaced })),
                (ADD, with("sales", &[&ann, stranger])),
            ] {
                let status = world
                    .refused(&world.admin, method, request, Code::NotFound, "RESOURCE_NOT_FOUND")
                    .await;
                let about = status.get_details_resource_info().unwrap();
                assert_eq!(about.resource_type, "Member");
                assert_eq!(about.resource_name, format!("{BAKERY}/members/{}", stranger.user));
            }
            // To take out who is not in it is no mistake.
            world.done(REMOVE, with("sales", &[stranger])).await;
        }
        assert_eq!(world.keys(json!({ "parent": BAKERY })).await, ["sales"]);
        assert_eq!(world.done(GET, team("sales")).await["version"], "1");
    })
    .await;
}

#[tokio::test]
async fn members_are_added_and_taken_out_once() {
    on_both_engines(async |engine| {
        let world = World::with_organizations(engine).await;
        let [ann, ben] = world.people(["ann", "ben"]).await;
        world.done(CREATE, new("sales", "Sales", &[&ann])).await;
        let added = world.done(ADD, with("sales", &[&ann, &ben])).await;
        assert_eq!(
            (&added["version"], added["members"].as_array().unwrap().len()),
            (&json!("2"), 2)
        );
        let rows = world.journal_rows().await;
        assert_eq!(world.done(ADD, with("sales", &[&ben])).await, added);
        let taken = world.done(REMOVE, with("sales", &[&ann])).await;
        assert_eq!(
            (&taken["version"], &taken["members"]),
            (&json!("3"), &json!([ben.user]))
        );
        assert_eq!(world.done(REMOVE, with("sales", &[&ann])).await, taken);
        assert_eq!(world.journal_rows().await, rows + 1);
        // Under a request id it is remembered that nothing changed.
        let mut request = with("sales", &[&ben]);
        request["requestId"] = Uuid::new_v4().to_string().into();
        world.done(ADD, request.clone()).await;
        world.done(REMOVE, with("sales", &[&ben])).await;
        assert_eq!(world.done(ADD, request).await, taken, "the first answer");
        let many: Vec<String> = (0..101).map(|_| Uuid::now_v7().to_string()).collect();
        for bad in [json!([]), json!(many), json!(["ann"])] {
            let request = json!({ "name": format!("{BAKERY}/teams/sales"), "members": bad });
            for method in [ADD, REMOVE] {
                let invalid = "INVALID_FIELDS";
                world
                    .refused_by_reason(method, request.clone(), Code::InvalidArgument, invalid)
                    .await;
            }
        }
    })
    .await;
}

#[tokio::test]
async fn who_is_removed_leaves_its_teams() {
    on_both_engines(async |engine| {
        let world = World::with_organizations(engine).await;
        let [ann, ben] = world.people(["ann", "ben"]).await;
        world.come(&ann).await;
        world.done(CREATE, new("sales", "Sales", &[&ann, &ben])).await;
        world.done(CREATE, new("support", "Support", &[&ann])).await;
        world.done(CREATE, new("others", "Others", &[&ben])).await;
        let rows = world.journal_rows().await;
        world
            .done("MemberService/RemoveMember", json!({ "name": ann.member }))
            .await;
        assert_eq!(world.journal_rows().await, rows + 1, "one mutation");
        let left = [
            ("sales", "2", vec![&*ben.user]),
            ("support", "2", vec![]),
            ("others", "1", vec![&*ben.user]),
        ];
        for (key, version, members) in left {
            let read = world.done(GET, team(key)).await;
            assert_eq!(
                (&read["version"], texts(&read["members"])),
                (&json!(version), members),
                "{key}"
            );
        }
        let told = told(&world.newest_entry().await);
        let (sales, support) = (format!("{BAKERY}/teams/sales"), format!("{BAKERY}/teams/support"));
        assert_eq!(
            told,
            [
                (ann.member.clone(), 2, ChangeKind::Deleted),
                (sales, 2, ChangeKind::Updated),
                (support, 2, ChangeKind::Updated)
            ]
        );
        let of_ann = json!({ "parent": BAKERY, "filter": format!("member = {:?}", ann.user) });
        assert_eq!(world.keys(of_ann.clone()).await, [""; 0]);
        // Who comes back is in no team, and can be put into one again.
        let again = json!({ "parent": BAKERY, "user": format!("workspaces/acme/users/{}", ann.user) });
        world.done("MemberService/CreateMember", again).await;
        assert_eq!(world.keys(of_ann.clone()).await, [""; 0]);
        world.done(ADD, with("support", &[&ann])).await;
        assert_eq!(world.keys(of_ann).await, ["support"]);
        assert_eq!(reason(&world.pick("support").await.unwrap_err()), "NO_ONE_ONLINE");
    })
    .await;
}

#[tokio::test]
async fn the_journal_tells_of_teams() {
    on_both_engines(async |engine| {
        let world = World::with_organizations(engine).await;
        let [ann] = world.people(["ann"]).await;
        let created = world.done(CREATE, new("sales", "Sales", &[&ann])).await;
        let entry = world.newest_entry().await;
        let name = |key: &str| format!("{BAKERY}/teams/{key}");
        assert_eq!(told(&entry), [(name("sales"), 1, ChangeKind::Created)]);
        world.done(UPDATE, rename("sales", "shop")).await;
        let entry = world.newest_entry().await;
        assert_eq!(told(&entry), [(name("shop"), 2, ChangeKind::Updated)]);
        assert_eq!(entry.changes[0].changed_fields, ["key", "aliases"]);
        let [snapshot] = world.snapshots().await.try_into().unwrap();
        assert_eq!((snapshot.version, &snapshot.members), (2, &vec![ann.user.clone()]));
        assert_eq!(Some(snapshot.uid.as_str()), created["uid"].as_str());
        world.done("TeamService/DeleteTeam", team("shop")).await;
        let entry = world.newest_entry().await;
        assert_eq!(told(&entry), [(name("shop"), 3, ChangeKind::Deleted)]);
        assert!(entry.changes[0].after.is_none() && entry.changes[0].before.is_some());
        assert_eq!(world.snapshots().await, []);
    })
    .await;
}

#[tokio::test]
async fn everybody_who_is_there_is_picked_in_turn() {
    on_both_engines(async |engine| {
        let world = World::with_organizations(engine).await;
        let people = world.people(["ann", "ben", "carl", "dora", "eve"]).await;
        for person in &people[..4] {
            world.come(person).await;
        }
        world.done(CREATE, new("sales", "Sales", &people.each_ref()[..3])).await;
        world.done(CREATE, new("all", "All", &people.each_ref())).await;
        let mut counts = BTreeMap::new();
        for round in 1..=4 {
            let picks = join_all((0..CALLERS).map(|_| world.pick("sales"))).await;
            for member in picks.into_iter().map(Result::unwrap) {
                *counts.entry(member).or_insert(0) += 1;
            }
            let (least, most) = (counts.values().min().unwrap(), counts.values().max().unwrap());
            assert!(counts.len() == 3 && most - least <= 1, "after {round}: {counts:?}");
        }
        // Each team has its own turns, and who comes later is next.
        assert_eq!(
            world.pick("all").await.unwrap(),
            people[0].member,
            "never picked: by uid"
        );
        world.come(&people[4]).await;
        for next in [1, 2, 3, 4, 0, 1] {
            assert_eq!(world.pick("all").await.unwrap(), people[next].member);
        }
        world.set_presence(&people[2], "PRESENCE_OFFLINE").await;
        for next in [3, 4, 0] {
            assert_eq!(world.pick("all").await.unwrap(), people[next].member);
        }
        world.come(&people[2]).await;
        for next in [2, 1, 3] {
            assert_eq!(world.pick("all").await.unwrap(), people[next].member, "longest ago");
        }
    })
    .await;
}

#[tokio::test]
async fn who_is_not_there_is_never_picked() {
    on_both_engines(async |engine| {
        let world = World::with_organizations(engine).await;
        let people = world.people(["ann", "ben", "carl", "dora"]).await;
        let [ann, ben, carl, dora] = people.each_ref();
        world.done(CREATE, new("sales", "Sales", &people.each_ref())).await;
        world.done(CREATE, new("empty", "Empty", &[])).await;
        let nobody = async |key: &str| {
            let status = world.pick(key).await.unwrap_err();
            assert_eq!(
                (status.code(), reason(&status).as_str()),
                (Code::FailedPrecondition, "NO_ONE_ONLINE")
            );
        };
        nobody("empty").await;
        nobody("sales").await;
        for person in &people {
            world.come(person).await;
        }
        world.done("MemberService/SuspendMember", json!({ "name": ann.member })).await;
        let of_ben = json!({ "name": format!("workspaces/acme/users/{}", ben.user) });
        world.done("UserService/DisableUser", of_ben.clone()).await;
        world.set_presence(carl, "PRESENCE_OFFLINE").await;
        for _ in 0..4 {
            assert_eq!(world.pick("sales").await.unwrap(), dora.member);
        }
        world.done("MemberService/RemoveMember", json!({ "name": dora.member })).await;
        nobody("sales").await;
        // Online in another organization is not online here.
        let there = json!({ "parent": "workspaces/acme/organizations/butcher", "user": format!("workspaces/acme/users/{}", carl.user) });
        let there = world.person(world.done("MemberService/CreateMember", there).await).await;
        world.come(&there).await;
        nobody("sales").await;
        world.done("MemberService/ResumeMember", json!({ "name": ann.member })).await;
        world.done("UserService/EnableUser", of_ben).await;
        world.come(ann).await;
        let picked = [world.pick("sales").await.unwrap(), world.pick("sales").await.unwrap()];
        assert_eq!(BTreeSet::from(picked), BTreeSet::from([ann.member.clone(), ben.member.clone()]));
    })
    .await;
}

#[tokio::test]
async fn a_request_id_repeats_its_pick_and_a_preview_picks_nobody() {
    on_both_engines(async |engine| {
        let world = World::with_organizations(engine).await;
        let people = world.people(["ann", "ben"]).await;
        for person in &people {
            world.come(person).await;
        }
        world.done(CREATE, new("sales", "Sales", &people.each_ref())).await;
        let pick = async |request: Value| {
            let picked = world.call(&world.router(), PICK, request).await;
            picked.unwrap()["member"].as_str().unwrap().to_owned()
        };
        let rows = world.journal_rows().await;
        let mut preview = team("sales");
        preview["validateOnly"] = true.into();
        for _ in 0..2 {
            assert_eq!(pick(preview.clone()).await, people[0].member);
        }
        let mut once = team("sales");
        once["requestId"] = Uuid::new_v4().to_string().into();
        assert_eq!(pick(once.clone()).await, people[0].member);
        assert_eq!(pick(once.clone()).await, people[0].member);
        assert_eq!(
            pick(team("sales")).await,
            people[1].member,
            "the repetition took nobody's turn"
        );
        assert_eq!(pick(team("sales")).await, people[0].member);
        // Also when nobody is there any more.
        for person in &people {
            world.set_presence(person, "PRESENCE_OFFLINE").await;
        }
        assert_eq!(pick(once).await, people[0].member);
        assert_eq!(
            world.journal_rows().await,
            rows + 1,
            "nothing but the request id is remembered"
        );
    })
    .await;
}

#[tokio::test]
async fn the_limit_binds_when_all_call_at_once() {
    const LIMIT: usize = 20;
    on_both_engines(async |engine| {
        let world = World::with_organizations(engine).await;
        let limits = json!({ "organization": { "name": BAKERY, "limits": { "maxTeams": LIMIT } } });
        world.done("OrganizationService/UpdateOrganization", limits).await;
        let create = async |at: usize| {
            let request = CreateTeamRequest {
                parent: BAKERY.to_owned(),
                // Half of them of their own choice.
                team_id: if at.is_multiple_of(2) {
                    format!("team_{at}")
                } else {
                    String::new()
                },
                team: Some(Team {
                    label: Some("Team".to_owned()),
                    ..Default::default()
                }),
                request_id: Uuid::new_v4().to_string(),
                ..Default::default()
            };
            patiently(|| async { world.teams().create_team(world.admin.request(request.clone())).await }).await
        };
        let (created, refused): (Vec<_>, Vec<_>) = join_all((0..CALLERS).map(create))
            .await
            .into_iter()
            .partition(Result::is_ok);
        assert_eq!((created.len(), refused.len()), (LIMIT, CALLERS - LIMIT));
        for status in refused.into_iter().map(Result::unwrap_err) {
            assert_eq!(
                (status.code(), reason(&status).as_str()),
                (Code::ResourceExhausted, "LIMIT_REACHED")
            );
            let figures = status.get_details_error_info().unwrap().metadata;
            assert_eq!((&*figures["limit"], &*figures["used"]), ("20", "20"));
        }
        assert_eq!(world.keys(json!({ "parent": BAKERY })).await.len(), LIMIT);
        // One goes, one may come; a smaller limit takes nothing away.
        let one = world.keys(json!({ "parent": BAKERY })).await.remove(0);
        world.done("TeamService/DeleteTeam", team(&one)).await;
        create(1).await.unwrap();
        create(1).await.unwrap_err();
        let limits = json!({ "organization": { "name": BAKERY, "limits": { "maxTeams": 1 } } });
        world.done("OrganizationService/UpdateOrganization", limits).await;
        assert_eq!(world.keys(json!({ "parent": BAKERY })).await.len(), LIMIT);
    })
    .await;
}

#[tokio::test]
async fn client_users_read_teams_and_change_them_with_the_permission() {
    on_both_engines(async |engine| {
        let world = World::with_organizations(engine).await;
        let manager = world.add("bakery", "manager@example.com", &["org-admin"]).await;
        let viewer = world.add("bakery", "viewer@example.com", &["viewer"]).await;
        let stranger = world.add("butcher", "stranger@example.com", &["org-admin"]).await;
        let created = world
            .call(&manager.caller, CREATE, new("sales", "Sales", &[&viewer]))
            .await;
        let created = created.unwrap();
        let changes = [
            (CREATE, new("more", "More", &[])),
            (UPDATE, rename("sales", "shop")),
            (ADD, with("sales", &[&manager])),
            (REMOVE, with("sales", &[&manager])),
            ("TeamService/DeleteTeam", team("sales")),
        ];
        for (method, request) in &changes {
            let (request, missing) = (request.clone(), "PERMISSION_MISSING");
            world
                .refused(&viewer.caller, method, request.clone(), Code::PermissionDenied, missing)
                .await;
            let hidden = "RESOURCE_NOT_FOUND";
            world
                .refused(&stranger.caller, method, request.clone(), Code::NotFound, hidden)
                .await;
            let (who, low) = (&world.member, "CALLER_NOT_ALLOWED");
            world.refused(who, method, request, Code::PermissionDenied, low).await;
        }
        assert_eq!(world.call(&viewer.caller, GET, team("sales")).await.unwrap(), created);
        let hidden = "RESOURCE_NOT_FOUND";
        world
            .refused(&stranger.caller, GET, team("sales"), Code::NotFound, hidden)
            .await;
        world.come(&viewer).await;
        let picked = world.call(&viewer.caller, PICK, team("sales")).await.unwrap();
        assert_eq!(picked["member"], viewer.member.as_str());
        for (method, request) in changes {
            world.call(&manager.caller, method, request).await.unwrap();
        }
    })
    .await;
}

#[tokio::test]
async fn teams_change_as_the_state_of_their_organization_lets_them() {
    on_both_engines(async |engine| {
        let world = World::with_organizations(engine).await;
        let manager = world.add("bakery", "manager@example.com", &["org-admin"]).await;
        world.come(&manager).await;
        world.done(CREATE, new("sales", "Sales", &[&manager])).await;
        let bakery = json!({ "name": BAKERY });
        world
            .done("OrganizationService/SuspendOrganization", bakery.clone())
            .await;
        // Its own users are shut out, conversations go nowhere, the agency goes on.
        let denied = "ACCESS_DENIED";
        for (method, request) in [
            (GET, team("sales")),
            (UPDATE, rename("sales", "shop")),
            (PICK, team("sales")),
        ] {
            world
                .refused(&manager.caller, method, request, Code::PermissionDenied, denied)
                .await;
        }
        let suspended = world.pick("sales").await.unwrap_err();
        assert_eq!(
            (suspended.code(), reason(&suspended).as_str()),
            (Code::FailedPrecondition, "ORGANIZATION_SUSPENDED")
        );
        world.done(UPDATE, rename("sales", "shop")).await;
        world.done(CREATE, new("more", "More", &[])).await;

        let deleted = world
            .call(&world.owner, "OrganizationService/DeleteOrganization", bakery)
            .await;
        deleted.unwrap();
        for (method, request) in [
            (CREATE, new("again", "Again", &[])),
            (UPDATE, rename("shop", "sales")),
            (ADD, with("shop", &[&manager])),
            (REMOVE, with("shop", &[&manager])),
            ("TeamService/DeleteTeam", team("shop")),
        ] {
            let why = "ORGANIZATION_DELETED";
            world
                .refused_by_reason(method, request, Code::FailedPrecondition, why)
                .await;
        }
        let status = world.pick("shop").await.unwrap_err();
        assert_eq!(reason(&status), "ORGANIZATION_DELETED");
    })
    .await;
}

#[tokio::test]
async fn teams_are_listed_in_the_order_of_their_creation_page_by_page() {
    on_both_engines(async |engine| {
        let world = World::with_organizations(engine).await;
        let [ann, ben] = world.people(["ann", "ben"]).await;
        let keys = ["echo", "delta", "charlie", "bravo", "alpha"];
        for (at, key) in keys.into_iter().enumerate() {
            let members: &[&Person] = if at % 2 == 0 { &[&ann, &ben] } else { &[&ben] };
            world.done(CREATE, new(key, key, members)).await;
        }
        let all = json!({ "parent": BAKERY });
        assert_eq!(world.keys(all).await, keys);
        let of_ann = format!("member = {:?}", ann.user);
        for (filter, listed) in [
            (String::new(), keys.to_vec()),
            (of_ann.clone(), vec!["echo", "charlie", "alpha"]),
        ] {
            let mut request = json!({ "parent": BAKERY, "pageSize": 2, "filter": filter });
            let mut seen = Vec::new();
            loop {
                let page = world.done("TeamService/ListTeams", request.clone()).await;
                let teams = page["teams"].as_array().unwrap();
                assert!((1..=2).contains(&teams.len()));
                for team in teams {
                    assert_eq!(world.done(GET, json!({ "name": team["name"] })).await, *team);
                    seen.push(team["key"].as_str().unwrap().to_owned());
                }
                if page["nextPageToken"] == "" {
                    break;
                }
                request["pageToken"] = page["nextPageToken"].clone();
                let mut other = request.clone();
                other["filter"] = "member = \"01a20cb6-3a63-755b-9f1d-4c93df7357b0\"".into();
                let invalid = "PAGE_TOKEN_INVALID";
                world
                    .refused_by_reason("TeamService/ListTeams", other.clone(), Code::InvalidArgument, invalid)
                    .await;
                other = request.clone();
                other["parent"] = "workspaces/acme/organizations/butcher".into();
                world
                    .refused_by_reason("TeamService/ListTeams", other, Code::InvalidArgument, invalid)
                    .await;
            }
            assert_eq!(seen, listed);
        }
        let both = json!({ "parent": BAKERY, "filter": format!("{of_ann} AND member = {:?}", ben.user) });
        assert_eq!(world.keys(both).await.len(), 3);
        let elsewhere = json!({ "parent": "workspaces/acme/organizations/butcher", "filter": of_ann });
        assert_eq!(world.keys(elsewhere).await, [""; 0]);
        for bad in ["member = ann", "key = sales", "member >= \"x\"", "member"] {
            let request = json!({ "parent": BAKERY, "filter": bad });
            let invalid = "INVALID_FIELDS";
            world
                .refused_by_reason("TeamService/ListTeams", request, Code::InvalidArgument, invalid)
                .await;
        }
    })
    .await;
}
