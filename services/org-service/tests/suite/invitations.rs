//! Invitations: from the offer to the member, and everything that ends one.

use crate::{Person, World};
use clientele_api::access::StaffRole;
use clientele_api::journal::watch_request::Start;
use clientele_api::journal::watch_response::Item;
use clientele_api::journal::{Entry, InitialState, ListEntriesRequest, WatchRequest};
use clientele_service::assembly::Service as _;
use clientele_testkit::{Caller, Calls, Engine, Running, on_both_engines, reason, until};
use futures::future::join_all;
use org_service::OrgService;
use prost::Message as _;
use sea_orm::{ConnectionTrait as _, DbBackend, Statement, TransactionTrait as _};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::io::Read as _;
use std::process::{Child, Command, Stdio};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tonic::transport::Channel;
use tonic::{Code, Status};
use tonic_types::StatusExt as _;
use uuid::Uuid;

const BAKERY: &str = "workspaces/acme/organizations/bakery";
const BUTCHER: &str = "workspaces/acme/organizations/butcher";
const CREATE: &str = "InvitationService/CreateInvitation";
const BATCH: &str = "InvitationService/BatchCreateInvitations";
const GET: &str = "InvitationService/GetInvitation";
const LIST: &str = "InvitationService/ListInvitations";
const REVOKE: &str = "InvitationService/RevokeInvitation";
const ISSUE: &str = "InvitationService/IssueInvitationToken";
const ACCEPT: &str = "InvitationService/AcceptInvitation";
const DECLINE: &str = "InvitationService/DeclineInvitation";
const ANN: &str = "ann@example.com";

fn to(email: &str, roles: &[&str]) -> Value {
    json!({ "parent": BAKERY, "invitation": { "email": email, "roles": roles } })
}

fn with(name: &Value, token: &str) -> Value {
    json!({ "name": name, "token": token })
}

fn nobody() -> Caller {
    Caller::default()
}

/// So much later, as JSON has it.
fn later(span: Duration) -> String {
    OffsetDateTime::from(SystemTime::now() + span).format(&Rfc3339).unwrap()
}

impl World {
    async fn with_a_bakery(engine: Engine) -> Self {
        let world = Self::start(engine).await;
        world.create_organization("bakery").await;
        world
    }

    async fn sql(&self, sql: &str) {
        self.database().await.execute_unprepared(sql).await.unwrap();
    }

    /// As if the time had come until which it can be accepted.
    async fn expire(&self, email: &str) {
        let long_ago = "UPDATE invitations SET expire_time = create_time";
        self.sql(&format!("{long_ago} WHERE email = '{email}'")).await;
    }

    /// As if a minute had passed since every token.
    pub(crate) async fn pass_a_minute(&self) {
        self.sql("UPDATE invitations SET token_time = token_time - 60000000")
            .await;
    }

    /// Invites a person to the bakery, as an admin of `acme`.
    async fn invite(&self, email: &str, roles: &[&str]) -> Value {
        self.done(CREATE, to(email, roles)).await
    }

    async fn token(&self, name: &Value) -> String {
        let issued = self.done(ISSUE, json!({ "name": name })).await;
        issued["token"].as_str().unwrap().to_owned()
    }

    /// Invites a person to the bakery; the name and the token.
    async fn invite_with_token(&self, email: &str, roles: &[&str]) -> (Value, String) {
        let name = self.invite(email, roles).await["name"].clone();
        let token = self.token(&name).await;
        (name, token)
    }

    /// Invites a person to an organization; the name and the token.
    pub(crate) async fn invite_to(&self, parent: &str, email: &str) -> (Value, String) {
        let invited = json!({ "parent": parent, "invitation": { "email": email } });
        let name = self.done(CREATE, invited).await["name"].clone();
        let token = self.token(&name).await;
        (name, token)
    }

    async fn accept(&self, name: &Value, token: &str) -> Value {
        self.call(&nobody(), ACCEPT, with(name, token)).await.unwrap()
    }

    async fn get_invitation(&self, name: &Value) -> Value {
        self.done(GET, json!({ "name": name })).await
    }

    async fn list_invitations(&self, filter: &str, page_size: usize) -> Vec<String> {
        let (mut token, mut emails) = (json!(""), Vec::new());
        loop {
            let request = json!({ "parent": BAKERY, "pageSize": page_size, "pageToken": token, "filter": filter });
            let page = self.done(LIST, request).await;
            for invitation in page["invitations"].as_array().into_iter().flatten() {
                emails.push(invitation["email"].as_str().unwrap().to_owned());
            }
            match page["nextPageToken"].as_str() {
                Some(next) if !next.is_empty() => token = json!(next),
                _ => return emails,
            }
        }
    }

    async fn members(&self, organization: &str) -> Vec<Value> {
        let page = self
            .done(
                "MemberService/ListMembers",
                json!({ "parent": organization, "pageSize": 500 }),
            )
            .await;
        page["members"].as_array().cloned().unwrap_or_default()
    }

    /// The newest entries of the journal that a method of `clientele.org.v1` wrote.
    async fn entries_of(&self, method: &str) -> Vec<Entry> {
        let request = ListEntriesRequest {
            parent: "workspaces/acme".into(),
            filter: format!("method = \"/clientele.org.v1.{method}\""),
            page_size: 500,
            ..Default::default()
        };
        let page = self.journal().list_entries(self.member.request(request)).await;
        page.unwrap().into_inner().entries
    }

    /// A step that is refused as an invitation in this state is.
    async fn not_pending(&self, caller: &Caller, method: &str, request: Value, state: &str) {
        let refused = self
            .refused(
                caller,
                method,
                request,
                Code::FailedPrecondition,
                "INVITATION_NOT_PENDING",
            )
            .await;
        assert_eq!(refused.get_details_error_info().unwrap().metadata["state"], state);
    }

    async fn limit(&self, field: &str, limit: u32) {
        let limits = json!({ "name": BAKERY, "limits": { field: limit } });
        self.done(
            "OrganizationService/UpdateOrganization",
            json!({ "organization": limits }),
        )
        .await;
    }

    /// Makes calls at the same moment, each with a request id, until they are answered or refused for what they ask.
    async fn at_once(&self, calls: Vec<(&Caller, &str, Value)>) -> Vec<Result<Value, Status>> {
        let calls = calls.into_iter();
        join_all(calls.map(|(caller, method, request)| self.call_patiently(caller, method, request))).await
    }
}

/// How often each reason refused, and how often nothing did.
fn outcomes<T>(answers: &[Result<T, Status>]) -> BTreeMap<String, usize> {
    let mut outcomes = BTreeMap::new();
    for answer in answers {
        let outcome = answer.as_ref().err().map_or_else(|| "OK".to_owned(), reason);
        *outcomes.entry(outcome).or_default() += 1;
    }
    outcomes
}

fn counted(outcomes: &[(&str, usize)]) -> BTreeMap<String, usize> {
    outcomes
        .iter()
        .map(|(outcome, count)| ((*outcome).to_owned(), *count))
        .collect()
}

#[tokio::test]
async fn an_invitation_is_created_as_it_was_asked_for() {
    on_both_engines(async |engine| {
        let world = World::with_a_bakery(engine).await;
        let mut request = json!({
            "parent": BAKERY,
            "invitation": {
                "email": "Ann@Example.com",
                "roles": ["viewer", "member"],
                "permissions": ["leads.view", "billing.view"],
                "expireTime": later(Duration::from_secs(2 * 3600)),
            },
            "validateOnly": true,
        });
        let preview = world.done(CREATE, request.clone()).await;
        for field in ["name", "uid", "etag", "createTime", "updateTime", "expireTime"] {
            assert!(
                preview[field].as_str().unwrap_or_default().is_empty(),
                "{field}: {preview}"
            );
        }
        assert_eq!(preview["email"], "Ann@Example.com");
        assert!(world.list_invitations("", 50).await.is_empty());
        assert_eq!(world.entries_of(CREATE).await.len(), 0);

        request["validateOnly"] = json!(false);
        let created = world.done(CREATE, request.clone()).await;
        let name = format!("{BAKERY}/invitations/{}", created["uid"].as_str().unwrap());
        assert_eq!(created["name"], name);
        assert_eq!(
            (&created["version"], &created["state"]),
            (&json!("1"), &json!("STATE_PENDING"))
        );
        assert_eq!(created["roles"], json!(["viewer", "member"]));
        assert_eq!(created["permissions"], json!(["billing.view", "leads.view"]));
        let asked = request["invitation"]["expireTime"].as_str().unwrap();
        assert_eq!(created["expireTime"].as_str().unwrap()[..23], asked[..23]);
        assert_eq!(created["inviter"], "staff/sam");
        assert_eq!((&created["member"], &created["sentCount"]), (&json!(""), &json!(0)));
        assert_eq!(world.get_invitation(&created["name"]).await, created);
        let entries = world.entries_of(CREATE).await;
        assert_eq!((entries.len(), entries[0].changes.len()), (1, 1));

        let week = world.invite("ben@example.com", &[]).await;
        let lasts = |time: &Value| OffsetDateTime::parse(time.as_str().unwrap(), &Rfc3339).unwrap();
        let lasts = lasts(&week["expireTime"]) - lasts(&week["createTime"]);
        assert!((lasts.whole_seconds() - 7 * 24 * 3600).abs() <= 1, "{lasts}");
    })
    .await;
}

#[tokio::test]
async fn every_field_that_breaks_its_rule_is_named() {
    on_both_engines(async |engine| {
        let world = World::with_a_bakery(engine).await;
        let violated = async |method: &str, request: Value| {
            let status = world
                .refused(&world.admin, method, request, Code::InvalidArgument, "INVALID_FIELDS")
                .await;
            let violations = status.get_details_bad_request().unwrap().field_violations;
            violations.into_iter().map(|one| one.field).collect::<Vec<_>>()
        };
        let bad = json!({
            "email": "ann", "roles": ["A"], "permissions": ["x"], "teamKeys": ["A-b"], "expireTime": later(Duration::from_secs(3500)),
        });
        let fields = ["email", "roles", "permissions", "team_keys", "expire_time"];
        let single = violated(CREATE, json!({ "parent": BAKERY, "invitation": bad })).await;
        assert_eq!(single, fields.map(|field| format!("invitation.{field}")));
        assert_eq!(violated(CREATE, json!({ "parent": BAKERY })).await, ["invitation.email"]);
        let too_long = json!({ "email": ANN, "expireTime": later(Duration::from_secs(30 * 24 * 3600 + 60)) });
        let too_long = violated(CREATE, json!({ "parent": BAKERY, "invitation": too_long })).await;
        assert_eq!(too_long, ["invitation.expire_time"]);

        let batch = |requests: Vec<Value>| json!({ "parent": BAKERY, "requests": requests });
        let one = |email: &str| json!({ "invitation": { "email": email } });
        let in_batch = violated(BATCH, batch(vec![one(ANN), json!({ "invitation": bad })])).await;
        assert_eq!(in_batch, fields.map(|field| format!("requests[1].invitation.{field}")));
        assert_eq!(violated(BATCH, batch(vec![])).await, ["requests"]);
        assert_eq!(violated(BATCH, batch(vec![one(ANN); 101])).await, ["requests"]);
        let twice = violated(BATCH, batch(vec![one(ANN), one("ben@example.com"), one("ANN@example.com")])).await;
        assert_eq!(twice, ["requests[2].invitation.email"]);
        let of_their_own = json!({
            "parent": BUTCHER, "requestId": Uuid::new_v4().to_string(), "validateOnly": true, "invitation": { "email": ANN },
        });
        let of_their_own = violated(BATCH, batch(vec![of_their_own])).await;
        assert_eq!(of_their_own, ["requests[0].parent", "requests[0].request_id"]);
    })
    .await;
}

#[tokio::test]
async fn who_is_a_member_or_invited_is_not_invited_again() {
    on_both_engines(async |engine| {
        let world = World::with_a_bakery(engine).await;
        world.create_organization("butcher").await;
        let ann = world.add("bakery", ANN, &[]).await;
        let exists = async |request: Value| {
            let status = world
                .refused(&world.admin, CREATE, request, Code::AlreadyExists, "RESOURCE_EXISTS")
                .await;
            let resource = status.get_details_resource_info().unwrap();
            (resource.resource_type, resource.resource_name)
        };
        let member = ("Member".to_owned(), ann.member.clone());
        assert_eq!(exists(to("ANN@Example.com", &[])).await, member);
        world
            .done("MemberService/SuspendMember", json!({ "name": ann.member }))
            .await;
        assert_eq!(exists(to(ANN, &[])).await, member);
        // In another organization, or removed from this one, the person is none.
        let elsewhere = json!({ "parent": BUTCHER, "invitation": { "email": ANN } });
        world.done(CREATE, elsewhere).await;
        world
            .done("MemberService/RemoveMember", json!({ "name": ann.member }))
            .await;
        let mut pending = world.invite(ANN, &[]).await;

        let invitation = |pending: &Value| ("Invitation".to_owned(), pending["name"].as_str().unwrap().to_owned());
        assert_eq!(exists(to("aNN@example.com", &[])).await, invitation(&pending));
        world.done(REVOKE, json!({ "name": pending["name"] })).await;
        pending = world.invite(ANN, &[]).await;
        assert_eq!(exists(to(ANN, &[])).await, invitation(&pending));
        world.expire(ANN).await;
        world.invite(ANN, &[]).await;

        let unknown = to("ben@example.com", &["sales"]);
        let unknown = world
            .refused(&world.admin, CREATE, unknown, Code::NotFound, "RESOURCE_NOT_FOUND")
            .await;
        assert_eq!(unknown.get_details_resource_info().unwrap().resource_type, "Role");
    })
    .await;
}

#[tokio::test]
async fn a_batch_is_created_whole_or_not_at_all() {
    on_both_engines(async |engine| {
        let world = World::with_a_bakery(engine).await;
        let emails: Vec<String> = (0..100).map(|at| format!("person-{at}@example.com")).collect();
        let requests: Vec<Value> = emails
            .iter()
            .map(|email| json!({ "invitation": { "email": email } }))
            .collect();
        let mut batch = json!({ "parent": BAKERY, "requests": requests });
        world.invite("PERSON-73@example.com", &[]).await;
        world
            .refused(
                &world.admin,
                BATCH,
                batch.clone(),
                Code::AlreadyExists,
                "RESOURCE_EXISTS",
            )
            .await;
        assert_eq!(world.list_invitations("", 500).await, ["PERSON-73@example.com"]);
        world.expire("PERSON-73@example.com").await;
        world.limit("maxPendingInvitations", 99).await;
        let full = world
            .refused(
                &world.admin,
                BATCH,
                batch.clone(),
                Code::ResourceExhausted,
                "LIMIT_REACHED",
            )
            .await;
        let figures = full.get_details_error_info().unwrap().metadata;
        assert_eq!((figures["limit"].as_str(), figures["used"].as_str()), ("99", "0"));
        world.limit("maxPendingInvitations", 100).await;
        batch["validateOnly"] = json!(true);
        let preview = world.done(BATCH, batch.clone()).await;
        assert!(
            preview["invitations"]
                .as_array()
                .unwrap()
                .iter()
                .all(|one| one["name"] == "")
        );
        batch["validateOnly"] = json!(false);
        let created = world.done(BATCH, batch).await;
        let created = created["invitations"].as_array().unwrap().iter();
        assert_eq!(
            created.map(|one| one["email"].as_str().unwrap()).collect::<Vec<_>>(),
            emails
        );
        assert_eq!(world.list_invitations("state = PENDING", 33).await, emails);
        let entries = world.entries_of(BATCH).await;
        assert_eq!((entries.len(), entries[0].changes.len()), (1, 100));
    })
    .await;
}

#[tokio::test]
async fn what_has_ended_can_t_be_used() {
    on_both_engines(async |engine| {
        let world = World::with_a_bakery(engine).await;
        let mut ended = Vec::new();
        for state in ["ACCEPTED", "DECLINED", "REVOKED", "EXPIRED"] {
            let email = format!("{state}@example.com");
            let (name, token) = world.invite_with_token(&email, &[]).await;
            match state {
                "ACCEPTED" => drop(world.accept(&name, &token).await),
                "DECLINED" => drop(world.call(&nobody(), DECLINE, with(&name, &token)).await.unwrap()),
                "REVOKED" => drop(world.done(REVOKE, json!({ "name": name })).await),
                _ => world.expire(&email).await,
            }
            ended.push((state, name, token));
        }
        world.pass_a_minute().await;
        for (state, name, token) in &ended {
            let read = world.get_invitation(name).await;
            assert_eq!(read["state"], format!("STATE_{state}"));
            // Created and issued; that it expires is no change.
            assert_eq!(read["version"], if *state == "EXPIRED" { "2" } else { "3" });
            for method in [ACCEPT, DECLINE] {
                world.not_pending(&nobody(), method, with(name, token), state).await;
            }
            for method in [REVOKE, ISSUE] {
                world
                    .not_pending(&world.admin, method, json!({ "name": name }), state)
                    .await;
            }
            // The token is looked at first.
            let wrong = with(name, "x");
            world
                .refused(&nobody(), ACCEPT, wrong, Code::NotFound, "RESOURCE_NOT_FOUND")
                .await;
        }
        let (_, accepted, _) = &ended[0];
        let member = world.get_invitation(accepted).await["member"].clone();
        world.done("MemberService/GetMember", json!({ "name": member })).await;
        assert_eq!(world.members(BAKERY).await.len(), 1);
    })
    .await;
}

#[tokio::test]
async fn a_stale_etag_is_refused() {
    on_both_engines(async |engine| {
        let world = World::with_a_bakery(engine).await;
        let invited = world.invite(ANN, &[]).await;
        let issue = json!({ "name": invited["name"], "etag": invited["etag"] });
        let issued = world.done(ISSUE, issue.clone()).await["invitation"].clone();
        assert_ne!(issued["etag"], invited["etag"]);
        for method in [ISSUE, REVOKE] {
            world
                .refused(&world.admin, method, issue.clone(), Code::Aborted, "ETAG_MISMATCH")
                .await;
        }
        world
            .done(REVOKE, json!({ "name": invited["name"], "etag": issued["etag"] }))
            .await;
    })
    .await;
}

#[tokio::test]
async fn a_token_dies_when_the_next_one_is_issued() {
    on_both_engines(async |engine| {
        let world = World::with_a_bakery(engine).await;
        let name = world.invite(ANN, &[]).await["name"].clone();
        let issue = json!({ "name": name, "requestId": Uuid::new_v4().to_string() });
        let first = world.done(ISSUE, issue.clone()).await;
        let token = first["token"].as_str().unwrap();
        assert_eq!(first["invitation"]["sentCount"], 1);
        assert_eq!(token.len(), 64);

        let soon = json!({ "name": name });
        let soon = world
            .refused(
                &world.admin,
                ISSUE,
                soon,
                Code::ResourceExhausted,
                "TOKEN_ISSUED_RECENTLY",
            )
            .await;
        let pause = soon.get_details_retry_info().unwrap().retry_delay.unwrap();
        assert!(pause > Duration::ZERO && pause <= Duration::from_secs(60), "{pause:?}");
        // The same request is answered as before, token and all, also by another replica.
        assert_eq!(world.done(ISSUE, issue.clone()).await, first);
        let replica = Running::start(&world.service).await;
        let path = format!("/clientele.org.v1.{ISSUE}");
        let calls = Calls::new(replica.channel().await);
        assert_eq!(calls.call(&path, &world.admin, issue.clone()).await.unwrap().0, first);

        world.pass_a_minute().await;
        // A preview issues nothing, and kills nothing.
        let preview = world.done(ISSUE, json!({ "name": name, "validateOnly": true })).await;
        assert_eq!(preview["invitation"]["sentCount"], 2);
        assert_eq!(preview["token"], "");
        let preview = json!({ "name": name, "token": token, "validateOnly": true });
        world.call(&nobody(), ACCEPT, preview).await.unwrap();

        let second = world.done(ISSUE, json!({ "name": name })).await;
        assert_eq!(second["invitation"]["sentCount"], 2);
        assert_ne!(second["token"], first["token"]);
        for method in [ACCEPT, DECLINE] {
            let dead = with(&name, token);
            world
                .refused(&nobody(), method, dead, Code::NotFound, "RESOURCE_NOT_FOUND")
                .await;
        }
        // What a repetition gives is the first answer: a token that is dead by now.
        assert_eq!(world.done(ISSUE, issue).await, first);
        world.accept(&name, second["token"].as_str().unwrap()).await;
    })
    .await;
}

#[tokio::test]
async fn tokens_are_issued_fifty_times_at_most_and_by_one_of_several_callers() {
    on_both_engines(async |engine| {
        let world = World::with_a_bakery(engine).await;
        let name = world.invite(ANN, &[]).await["name"].clone();
        let issue = json!({ "name": name });
        for round in 1..=4 {
            let issued = world.at_once(vec![(&world.admin, ISSUE, issue.clone()); 8]).await;
            assert_eq!(outcomes(&issued), counted(&[("OK", 1), ("TOKEN_ISSUED_RECENTLY", 7)]));
            let winner = issued.into_iter().find_map(Result::ok).unwrap();
            assert_eq!(winner["invitation"]["sentCount"], round);
            let preview = json!({ "name": name, "token": winner["token"], "validateOnly": true });
            world.call(&nobody(), ACCEPT, preview).await.unwrap();
            world.pass_a_minute().await;
        }
        world.sql("UPDATE invitations SET sent_count = 49").await;
        world.token(&name).await;
        let full = world
            .refused(
                &world.admin,
                ISSUE,
                json!({ "name": name }),
                Code::ResourceExhausted,
                "LIMIT_REACHED",
            )
            .await;
        let figures = full.get_details_error_info().unwrap().metadata;
        assert_eq!((figures["limit"].as_str(), figures["used"].as_str()), ("50", "50"));
    })
    .await;
}

/// Everything that a refusal says, for a name that all have in common.
fn said(status: &Status, name: &str) -> String {
    let details = status.get_error_details();
    let said = format!("{:?} {:?} {details:?}", status.code(), status.message());
    assert!(said.contains(name), "{said}");
    let metadata = status.metadata().clone().into_headers();
    let mut headers: Vec<String> = metadata.keys().map(ToString::to_string).collect();
    headers.sort();
    format!("{} {headers:?}", said.replace(name, "NAME"))
}

#[tokio::test]
async fn who_has_no_token_learns_nothing() {
    on_both_engines(async |engine| {
        let world = World::with_a_bakery(engine).await;
        for id in ["butcher", "closed", "gone"] {
            world.create_organization(id).await;
        }
        let (pending, token) = world.invite_with_token(ANN, &[]).await;
        let never_issued = world.invite("ben@example.com", &[]).await["name"].clone();
        let revoked = world.invite_with_token("carl@example.com", &[]).await.0;
        world.done(REVOKE, json!({ "name": revoked })).await;
        let mut others = Vec::new();
        for (id, verb) in [("closed", "Suspend"), ("gone", "Delete")] {
            let parent = format!("workspaces/acme/organizations/{id}");
            let (invited, _) = world.invite_to(&parent, ANN).await;
            let method = format!("OrganizationService/{verb}Organization");
            world
                .call(&world.owner, &method, json!({ "name": parent }))
                .await
                .unwrap();
            others.push(invited);
        }
        let pending_name = pending.as_str().unwrap();
        let elsewhere = |from: &str, to: &str| json!(pending_name.replace(from, to));
        let names = [
            others,
            vec![
                elsewhere("workspaces/acme", "workspaces/globex"),
                elsewhere("organizations/bakery", "organizations/florist"),
                elsewhere("organizations/bakery", "organizations/butcher"),
                json!(format!("{BAKERY}/invitations/{}", Uuid::now_v7())),
                json!(format!("{BAKERY}/invitations/ann")),
                pending.clone(),
                never_issued,
                revoked,
            ],
        ]
        .concat();
        let butcher = world.add("butcher", "dora@example.com", &["org-admin"]).await;
        let callers = [
            nobody(),
            Caller::with(world.tokens.staff("globex", StaffRole::Owner)),
            butcher.caller,
            world.admin.clone(),
            Caller::with(world.tokens.service("mailer")),
        ];
        let twisted = format!("{}A", &token[..63]);
        let too_long = "\u{0}".repeat(300);
        let mut all = BTreeSet::new();
        for method in [ACCEPT, DECLINE] {
            for name in &names {
                for token in ["", "x", &twisted] {
                    let mut request = with(name, token);
                    if method == ACCEPT {
                        request["displayName"] = json!(too_long);
                    }
                    for caller in &callers {
                        let status = world.call(caller, method, request.clone()).await.unwrap_err();
                        all.insert(said(&status, name.as_str().unwrap()));
                    }
                    request["requestId"] = json!(Uuid::new_v4().to_string());
                    let status = world.call(&nobody(), method, request.clone()).await.unwrap_err();
                    all.insert(said(&status, name.as_str().unwrap()));
                    request["validateOnly"] = json!(true);
                    let status = world.call(&nobody(), method, request).await.unwrap_err();
                    all.insert(said(&status, name.as_str().unwrap()));
                }
            }
        }
        assert_eq!(all.len(), 1, "{all:#?}");
        assert!(all.first().unwrap().contains("RESOURCE_NOT_FOUND"), "{all:?}");
        // Another invitation's token is a wrong one, and who has the right one hears what else is wrong.
        let (other, _) = world.invite_with_token("emil@example.com", &[]).await;
        world
            .refused(
                &nobody(),
                ACCEPT,
                with(&other, &token),
                Code::NotFound,
                "RESOURCE_NOT_FOUND",
            )
            .await;
        let named = json!({ "name": pending, "token": token, "displayName": too_long });
        world
            .refused(&nobody(), ACCEPT, named, Code::InvalidArgument, "INVALID_FIELDS")
            .await;
        world.accept(&pending, &token).await;
    })
    .await;
}

#[tokio::test]
async fn a_new_person_becomes_user_and_member() {
    on_both_engines(async |engine| {
        let world = World::with_a_bakery(engine).await;
        let invitation = json!({ "email": "Ann@example.com", "roles": ["viewer"], "permissions": ["billing.view"] });
        let invited = world
            .done(CREATE, json!({ "parent": BAKERY, "invitation": invitation }))
            .await;
        let token = world.token(&invited["name"]).await;
        let mut accept = with(&invited["name"], &token);
        accept["displayName"] = json!("Ann");
        accept["validateOnly"] = json!(true);
        let preview = world.call(&nobody(), ACCEPT, accept.clone()).await.unwrap();
        assert_eq!(preview["state"], "STATE_ACCEPTED");
        assert_eq!(preview["member"], "", "there is no such user yet");
        assert!(world.members(BAKERY).await.is_empty());

        accept["validateOnly"] = json!(false);
        accept["requestId"] = json!(Uuid::new_v4().to_string());
        let accepted = world.call(&nobody(), ACCEPT, accept.clone()).await.unwrap();
        assert_eq!(
            (&accepted["version"], &accepted["state"]),
            (&json!("3"), &json!("STATE_ACCEPTED"))
        );
        assert_eq!(world.get_invitation(&invited["name"]).await, accepted);
        let member = json!({ "name": accepted["member"] });
        let member = world.done("MemberService/GetMember", member).await;
        assert_eq!(
            (&member["roles"], &member["permissions"]),
            (&json!(["viewer"]), &json!(["billing.view"]))
        );
        assert_eq!(
            (&member["person"]["email"], &member["person"]["displayName"]),
            (&json!("Ann@example.com"), &json!("Ann"))
        );

        let entries = world.entries_of(ACCEPT).await;
        let [entry] = &entries[..] else { panic!("{entries:?}") };
        assert_eq!(entry.actor, "public");
        let changed: Vec<&str> = entry.changes.iter().map(|change| change.resource.as_str()).collect();
        let expected = [&member["user"], &accepted["member"], &invited["name"]];
        assert_eq!(changed, expected.map(|name| name.as_str().unwrap()));
        assert_eq!(entry.changes[2].changed_fields, ["state", "member"]);

        // The same call again has the first answer, also when the organization is deleted.
        assert_eq!(world.call(&nobody(), ACCEPT, accept.clone()).await.unwrap(), accepted);
        world
            .call(
                &world.owner,
                "OrganizationService/DeleteOrganization",
                json!({ "name": BAKERY }),
            )
            .await
            .unwrap();
        assert_eq!(world.call(&nobody(), ACCEPT, accept).await.unwrap(), accepted);
    })
    .await;
}

#[tokio::test]
async fn a_user_of_the_workspace_becomes_member_and_a_removed_one_again() {
    on_both_engines(async |engine| {
        let world = World::with_a_bakery(engine).await;
        world.create_organization("butcher").await;
        let ann = world.add("butcher", ANN, &[]).await;
        let member = format!("{BAKERY}/members/{}", ann.user);
        let (name, token) = world.invite_with_token("ANN@example.com", &["viewer"]).await;
        let mut accept = with(&name, &token);
        accept["displayName"] = json!("Somebody else");
        accept["validateOnly"] = json!(true);
        assert_eq!(
            world.call(&nobody(), ACCEPT, accept.clone()).await.unwrap()["member"],
            member
        );
        accept["validateOnly"] = json!(false);
        // Who sends a token is the actor, whoever that is.
        let accepted = world.call(&ann.caller, ACCEPT, accept).await.unwrap();
        assert_eq!(accepted["member"], member);
        let entries = world.entries_of(ACCEPT).await;
        assert_eq!(
            (entries[0].actor.as_str(), entries[0].changes.len()),
            (&*format!("users/{}", ann.user), 2)
        );
        let first = world.done("MemberService/GetMember", json!({ "name": member })).await;
        assert_eq!(
            first["person"]["displayName"].as_str().unwrap_or_default(),
            "",
            "a user names itself"
        );

        world
            .done("MemberService/RemoveMember", json!({ "name": member }))
            .await;
        let (name, token) = world.invite_with_token(ANN, &["org-admin"]).await;
        world.accept(&name, &token).await;
        let again = world.done("MemberService/GetMember", json!({ "name": member })).await;
        assert_eq!((&again["uid"], &again["version"]), (&first["uid"], &json!("3")));
        assert_eq!(again["roles"], json!(["org-admin"]));

        // Somebody who became a member otherwise is one already.
        let (name, token) = world.invite_with_token("ben@example.com", &[]).await;
        world.add("bakery", "ben@example.com", &[]).await;
        world
            .refused(
                &nobody(),
                ACCEPT,
                with(&name, &token),
                Code::AlreadyExists,
                "RESOURCE_EXISTS",
            )
            .await;
        let read = world.get_invitation(&name).await;
        assert_eq!(read["state"], "STATE_PENDING");
    })
    .await;
}

#[tokio::test]
async fn who_accepts_joins_the_teams() {
    on_both_engines(async |engine| {
        let world = World::with_a_bakery(engine).await;
        let team = |key: &str| json!({ "name": format!("{BAKERY}/teams/{key}") });
        for key in ["sales", "support", "gone"] {
            let create = json!({ "parent": BAKERY, "teamId": key, "team": { "label": key } });
            world.done("TeamService/CreateTeam", create).await;
        }
        let unknown = json!({ "email": ANN, "teamKeys": ["sales", "nobody"] });
        let unknown = json!({ "parent": BAKERY, "invitation": unknown });
        let unknown = world
            .refused(&world.admin, CREATE, unknown, Code::NotFound, "RESOURCE_NOT_FOUND")
            .await;
        assert_eq!(unknown.get_details_resource_info().unwrap().resource_type, "Team");

        let invitation = json!({ "email": ANN, "teamKeys": ["support", "gone", "sales"] });
        let invited = world
            .done(CREATE, json!({ "parent": BAKERY, "invitation": invitation }))
            .await;
        assert_eq!(invited["teamKeys"], json!(["support", "gone", "sales"]));
        let token = world.token(&invited["name"]).await;
        let rename = json!({ "team": { "name": team("sales")["name"], "key": "field" } });
        world.done("TeamService/UpdateTeam", rename).await;
        world.done("TeamService/DeleteTeam", team("gone")).await;

        let mut accept = with(&invited["name"], &token);
        accept["validateOnly"] = json!(true);
        world.call(&nobody(), ACCEPT, accept).await.unwrap();
        let members = async |key: &str| world.done("TeamService/GetTeam", team(key)).await["members"].clone();
        assert_eq!(members("support").await, json!([]));
        let accepted = world.accept(&invited["name"], &token).await;
        let user = accepted["member"]
            .as_str()
            .unwrap()
            .replace("organizations/bakery/members", "users");
        for key in ["support", "sales", "field"] {
            let members = members(key).await;
            let one = members
                .as_array()
                .unwrap()
                .iter()
                .map(|id| id.as_str().unwrap().to_owned());
            assert!(
                one.eq([user.rsplit('/').next().unwrap()]) || members == json!([user]),
                "{key}: {members}"
            );
        }
        let entries = world.entries_of(ACCEPT).await;
        let changed = entries[0]
            .changes
            .iter()
            .map(|change| change.resource.rsplit('/').nth(1).unwrap());
        assert_eq!(
            changed.collect::<Vec<_>>(),
            ["users", "members", "teams", "teams", "invitations"]
        );
    })
    .await;
}

#[tokio::test]
async fn a_disabled_user_accepts_nothing() {
    on_both_engines(async |engine| {
        let world = World::with_a_bakery(engine).await;
        world.create_organization("butcher").await;
        let ann = world.add("butcher", ANN, &[]).await;
        let (name, token) = world.invite_with_token(ANN, &[]).await;
        let user = json!({ "name": format!("workspaces/acme/users/{}", ann.user) });
        world.done("UserService/DisableUser", user.clone()).await;
        world
            .refused(
                &nobody(),
                ACCEPT,
                with(&name, &token),
                Code::FailedPrecondition,
                "USER_DISABLED",
            )
            .await;
        world.done("UserService/EnableUser", user).await;
        world.accept(&name, &token).await;
    })
    .await;
}

#[tokio::test]
async fn an_invitation_is_accepted_once_also_at_the_same_moment() {
    on_both_engines(async |engine| {
        let world = World::with_a_bakery(engine).await;
        world.create_organization("butcher").await;
        // Users of the workspace, a removed member, and new people.
        for at in 0..4 {
            world.add("butcher", &format!("person-{at}@example.com"), &[]).await;
        }
        let removed = world.add("bakery", "person-4@example.com", &[]).await;
        world
            .done("MemberService/RemoveMember", json!({ "name": removed.member }))
            .await;
        for at in 0..8 {
            let (name, token) = world.invite_with_token(&format!("person-{at}@example.com"), &[]).await;
            let accepted = world.at_once(vec![(&nobody(), ACCEPT, with(&name, &token)); 8]).await;
            assert_eq!(
                outcomes(&accepted),
                counted(&[("OK", 1), ("INVITATION_NOT_PENDING", 7)]),
                "{at}"
            );
            assert_eq!(world.members(BAKERY).await.len(), at + 1);
            let read = world.get_invitation(&name).await;
            assert_eq!(
                (&read["version"], &read["state"]),
                (&json!("3"), &json!("STATE_ACCEPTED"))
            );
        }
        assert_eq!(world.entries_of(ACCEPT).await.len(), 8);
    })
    .await;
}

#[tokio::test]
async fn one_of_accept_decline_and_revoke_wins() {
    on_both_engines(async |engine| {
        let world = World::with_a_bakery(engine).await;
        for at in 0..8 {
            let (name, token) = world.invite_with_token(&format!("person-{at}@example.com"), &[]).await;
            let proven = with(&name, &token);
            let (public, admin) = (nobody(), &world.admin);
            let calls = vec![
                (&public, DECLINE, proven.clone()),
                (admin, REVOKE, json!({ "name": name })),
                (&public, ACCEPT, proven.clone()),
                (&public, DECLINE, proven.clone()),
                (&public, ACCEPT, proven),
            ];
            let answers = world.at_once(calls).await;
            assert_eq!(outcomes(&answers), counted(&[("OK", 1), ("INVITATION_NOT_PENDING", 4)]));
            let won = answers.into_iter().find_map(Result::ok).unwrap();
            let read = world.get_invitation(&name).await;
            assert_eq!(read, won);
            let members = world.members(BAKERY).await;
            let member = members.iter().any(|member| member["person"]["email"] == read["email"]);
            assert_eq!(member, read["state"] == "STATE_ACCEPTED");
        }
    })
    .await;
}

#[tokio::test]
async fn a_person_who_accepts_in_two_organizations_at_once_is_one_user() {
    on_both_engines(async |engine| {
        let world = World::with_a_bakery(engine).await;
        world.create_organization("butcher").await;
        for at in 0..8 {
            let email = format!("person-{at}@example.com");
            let (here, one) = world.invite_to(BAKERY, &email).await;
            let (there, other) = world.invite_to(BUTCHER, &email).await;
            let public = nobody();
            let calls = vec![
                (&public, ACCEPT, with(&here, &one)),
                (&public, ACCEPT, with(&there, &other)),
            ];
            let accepted = world.at_once(calls).await;
            let user = |at: usize| {
                accepted[at].as_ref().unwrap()["member"]
                    .as_str()
                    .unwrap()
                    .rsplit('/')
                    .next()
            };
            assert_eq!(user(0), user(1));
        }
    })
    .await;
}

/// Accepts while another session is in the midst of a transaction that the call has to wait for.
async fn accept_meanwhile(world: &World, accept: Value, begin: &str, end: &str) -> Result<Value, Status> {
    let (database, another) = (world.database().await, world.database().await);
    let other = another.begin().await.unwrap();
    other.execute_unprepared(begin).await.unwrap();
    let waits = "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'";
    let meanwhile = async {
        until(Duration::from_secs(60), "the call waits", async || {
            let waits = Statement::from_string(DbBackend::Postgres, waits);
            database.query_one_raw(waits).await.unwrap().is_some()
        })
        .await;
        other.execute_unprepared(end).await.unwrap();
        other.commit().await.unwrap();
    };
    let public = nobody();
    let (mut answered, ()) = tokio::join!(world.at_once(vec![(&public, ACCEPT, accept)]), meanwhile);
    answered.remove(0)
}

#[tokio::test]
async fn a_token_that_dies_while_its_call_waits_is_dead() {
    let world = World::with_a_bakery(Engine::Postgres).await;
    let (name, token) = world.invite_with_token(ANN, &[]).await;
    let accept = with(&name, &token);
    let lock = "SELECT uid FROM organizations FOR UPDATE";
    let issue = "UPDATE invitations SET token_hash = sha256('another'), sent_count = sent_count + 1";
    let status = accept_meanwhile(&world, accept, lock, issue).await.unwrap_err();
    assert_eq!(reason(&status), "RESOURCE_NOT_FOUND");
    assert_eq!(world.get_invitation(&name).await["state"], "STATE_PENDING");
}

#[tokio::test]
async fn a_person_who_becomes_a_user_meanwhile_is_that_user() {
    let world = World::with_a_bakery(Engine::Postgres).await;
    let (name, token) = world.invite_with_token(ANN, &[]).await;
    let accept = with(&name, &token);
    let user = Uuid::now_v7();
    let insert = format!(
        "INSERT INTO users SELECT '{user}', uid, id, 1, 1, 1, '{ANN}', '{ANN}', '', '', '', false FROM workspaces"
    );
    accept_meanwhile(&world, accept, &insert, "SELECT 1").await.unwrap();
    let accepted = world.get_invitation(&name).await;
    assert_eq!(accepted["member"], format!("{BAKERY}/members/{user}"));
}

/// An org admin with roles besides, and the invitation that it wrote.
struct Invited {
    inviter: Person,
    name: Value,
    token: String,
}

impl Invited {
    async fn by(world: &World, email: &str, holds: &[&str], roles: &[&str]) -> Self {
        let inviter = world.add("bakery", email, &[&["org-admin"], holds].concat()).await;
        let invited = to(&format!("friend-of-{email}"), roles);
        let name = world.call(&inviter.caller, CREATE, invited).await.unwrap()["name"].clone();
        let token = world.token(&name).await;
        Self { inviter, name, token }
    }

    async fn refused(&self, world: &World) {
        let accept = with(&self.name, &self.token);
        world
            .refused(
                &nobody(),
                ACCEPT,
                accept,
                Code::FailedPrecondition,
                "INVITER_LOST_RIGHT",
            )
            .await;
        assert_eq!(world.get_invitation(&self.name).await["state"], "STATE_PENDING");
    }

    async fn accepted(&self, world: &World) {
        world.accept(&self.name, &self.token).await;
    }
}

#[tokio::test]
async fn an_invitation_is_no_better_than_its_inviter() {
    on_both_engines(async |engine| {
        let world = World::with_a_bakery(engine).await;
        world.add("bakery", "boss@example.com", &["org-admin"]).await;
        let grants = |person: &Person, roles: &[&str]| {
            let member = json!({ "name": person.member, "roles": roles });
            json!({ "member": member, "updateMask": "roles" })
        };

        let removed = Invited::by(&world, "removed@example.com", &[], &[]).await;
        world
            .done("MemberService/RemoveMember", json!({ "name": removed.inviter.member }))
            .await;
        removed.refused(&world).await;

        let suspended = Invited::by(&world, "suspended@example.com", &[], &[]).await;
        world
            .done(
                "MemberService/SuspendMember",
                json!({ "name": suspended.inviter.member }),
            )
            .await;
        suspended.refused(&world).await;
        world
            .done(
                "MemberService/ResumeMember",
                json!({ "name": suspended.inviter.member }),
            )
            .await;
        suspended.accepted(&world).await;

        let disabled = Invited::by(&world, "disabled@example.com", &[], &[]).await;
        let user = json!({ "name": format!("workspaces/acme/users/{}", disabled.inviter.user) });
        world.done("UserService/DisableUser", user.clone()).await;
        disabled.refused(&world).await;
        world.done("UserService/EnableUser", user).await;
        disabled.accepted(&world).await;

        // It may not invite any more,
        let demoted = Invited::by(&world, "demoted@example.com", &[], &[]).await;
        world
            .done("MemberService/UpdateMember", grants(&demoted.inviter, &["member"]))
            .await;
        demoted.refused(&world).await;
        // or may, but not for as much.
        let billing = &["billing-manager"];
        let lacking = Invited::by(&world, "lacking@example.com", billing, billing).await;
        let without = grants(&lacking.inviter, &["org-admin"]);
        world.done("MemberService/UpdateMember", without).await;
        lacking.refused(&world).await;
        let both = grants(&lacking.inviter, &["org-admin", "billing-manager"]);
        world.done("MemberService/UpdateMember", both).await;
        lacking.accepted(&world).await;
    })
    .await;
}

#[tokio::test]
async fn an_invitation_promises_what_roles_give_when_it_is_accepted() {
    on_both_engines(async |engine| {
        let world = World::with_a_bakery(engine).await;
        for (id, permissions) in [("sales", ["billing.view"]), ("aides", ["home.view"])] {
            let role = json!({ "title": "R", "permissions": permissions });
            let create = json!({ "parent": BAKERY, "roleId": id, "role": role });
            world.done("RoleService/CreateRole", create).await;
        }
        let change = async |id: &str, permissions: &[&str]| {
            let role = json!({ "name": format!("{BAKERY}/roles/{id}"), "permissions": permissions });
            let update = json!({ "role": role, "updateMask": "permissions" });
            world.done("RoleService/UpdateRole", update).await;
        };
        // What the inviter's role gave it gives no more.
        let loses = Invited::by(&world, "loses@example.com", &["sales"], &["sales"]).await;
        // What the promised role gives the inviter does not hold any more.
        let grows = Invited::by(&world, "grows@example.com", &[], &["aides"]).await;
        change("aides", &["billing.manage"]).await;
        grows.refused(&world).await;
        change("aides", &["home.view"]).await;
        grows.accepted(&world).await;
        let direct = Invited::by(&world, "direct@example.com", &["sales"], &["sales"]).await;
        let without = json!({ "name": loses.inviter.member, "roles": ["org-admin"] });
        world
            .done(
                "MemberService/UpdateMember",
                json!({ "member": without, "updateMask": "roles" }),
            )
            .await;
        loses.refused(&world).await;
        direct.accepted(&world).await;

        // Nobody of an organization without client access invites either.
        let shut_out = Invited::by(&world, "shut-out@example.com", &[], &[]).await;
        let access = |enabled: bool| json!({ "organization": { "name": BAKERY, "clientAccessEnabled": enabled } });
        world
            .done("OrganizationService/UpdateOrganization", access(false))
            .await;
        shut_out.refused(&world).await;
        // Staff does.
        let (name, token) = world.invite_with_token(ANN, &["org-admin", "billing-manager"]).await;
        world.accept(&name, &token).await;
        world.done("OrganizationService/UpdateOrganization", access(true)).await;
        shut_out.accepted(&world).await;
    })
    .await;
}

#[tokio::test]
async fn invitations_of_an_organization_out_of_use_are_not_accepted() {
    on_both_engines(async |engine| {
        let world = World::with_a_bakery(engine).await;
        let (ann, anns) = world.invite_with_token(ANN, &[]).await;
        let (ben, bens) = world.invite_with_token("ben@example.com", &[]).await;
        let bakery = json!({ "name": BAKERY });
        world
            .done("OrganizationService/SuspendOrganization", bakery.clone())
            .await;
        let accept = with(&ann, &anns);
        world
            .refused(
                &nobody(),
                ACCEPT,
                accept.clone(),
                Code::FailedPrecondition,
                "ORGANIZATION_SUSPENDED",
            )
            .await;
        world.call(&nobody(), DECLINE, with(&ben, &bens)).await.unwrap();
        world.invite("carl@example.com", &[]).await;

        world
            .call(&world.owner, "OrganizationService/DeleteOrganization", bakery.clone())
            .await
            .unwrap();
        let deleted = async |caller: &Caller, method: &str, request: Value| {
            let refused = world.refused(
                caller,
                method,
                request,
                Code::FailedPrecondition,
                "ORGANIZATION_DELETED",
            );
            refused.await;
        };
        deleted(&nobody(), ACCEPT, accept.clone()).await;
        deleted(&nobody(), DECLINE, accept.clone()).await;
        deleted(&world.admin, CREATE, to("dora@example.com", &[])).await;
        let batch = json!({ "parent": BAKERY, "requests": [{ "invitation": { "email": "dora@example.com" } }] });
        deleted(&world.admin, BATCH, batch).await;
        deleted(&world.admin, REVOKE, json!({ "name": ann })).await;
        deleted(&world.admin, ISSUE, json!({ "name": ann })).await;
        assert_eq!(world.get_invitation(&ann).await["state"], "STATE_PENDING");

        world
            .call(&world.owner, "OrganizationService/UndeleteOrganization", bakery.clone())
            .await
            .unwrap();
        world
            .refused(
                &nobody(),
                ACCEPT,
                accept,
                Code::FailedPrecondition,
                "ORGANIZATION_SUSPENDED",
            )
            .await;
        world.done("OrganizationService/ResumeOrganization", bakery).await;
        world.accept(&ann, &anns).await;
    })
    .await;
}

#[tokio::test]
async fn sixty_four_callers_fill_the_pending_invitations_to_the_limit() {
    on_both_engines(async |engine| {
        let world = World::with_a_bakery(engine).await;
        world.limit("maxPendingInvitations", 9).await;
        // Neither an expired one nor a revoked one counts.
        let revoked = world.invite("revoked@example.com", &[]).await;
        world.done(REVOKE, json!({ "name": revoked["name"] })).await;
        world.invite("expired@example.com", &[]).await;
        world.expire("expired@example.com").await;
        let people = |who: &str, count: usize| {
            let emails = (0..count).map(|at| format!("{who}-{at}@example.com"));
            emails
                .map(|email| (&world.admin, CREATE, to(&email, &[])))
                .collect::<Vec<_>>()
        };
        let created = world.at_once(people("person", 64)).await;
        assert_eq!(outcomes(&created), counted(&[("OK", 9), ("LIMIT_REACHED", 55)]));
        assert_eq!(world.list_invitations("state = PENDING", 50).await.len(), 9);
        // A place that is free is taken once.
        let created = created.into_iter().find_map(Result::ok).unwrap();
        world.done(REVOKE, json!({ "name": created["name"] })).await;
        let again = world.at_once(people("late", 8)).await;
        assert_eq!(outcomes(&again), counted(&[("OK", 1), ("LIMIT_REACHED", 7)]));
    })
    .await;
}

#[tokio::test]
async fn one_person_is_invited_once_also_at_the_same_moment() {
    on_both_engines(async |engine| {
        let world = World::with_a_bakery(engine).await;
        for at in 0..4 {
            let invite = to(&format!("person-{at}@example.com"), &[]);
            let created = world.at_once(vec![(&world.admin, CREATE, invite); 8]).await;
            assert_eq!(outcomes(&created), counted(&[("OK", 1), ("RESOURCE_EXISTS", 7)]));
        }
        assert_eq!(world.list_invitations("", 50).await.len(), 4);
    })
    .await;
}

#[tokio::test]
async fn sixty_four_invited_people_fill_the_members_to_the_limit() {
    on_both_engines(async |engine| {
        let world = World::with_a_bakery(engine).await;
        let requests = (0..64).map(|at| json!({ "invitation": { "email": format!("person-{at}@example.com") } }));
        let batch = json!({ "parent": BAKERY, "requests": requests.collect::<Vec<_>>() });
        let created = world.done(BATCH, batch).await;
        let names = created["invitations"]
            .as_array()
            .unwrap()
            .iter()
            .map(|one| &one["name"]);
        let issue = names.clone().map(|name| (&world.admin, ISSUE, json!({ "name": name })));
        let issued = world.at_once(issue.collect()).await;
        world.limit("maxMembers", 9).await;
        let public = nobody();
        let accept = names.zip(&issued).map(|(name, issued)| {
            let token = issued.as_ref().unwrap()["token"].as_str().unwrap();
            (&public, ACCEPT, with(name, token))
        });
        let accepted = world.at_once(accept.collect()).await;
        assert_eq!(outcomes(&accepted), counted(&[("OK", 9), ("LIMIT_REACHED", 55)]));
        assert_eq!(world.members(BAKERY).await.len(), 9);
        assert_eq!(world.list_invitations("state = ACCEPTED", 50).await.len(), 9);
        assert_eq!(world.list_invitations("state = PENDING", 50).await.len(), 55);
    })
    .await;
}

#[tokio::test]
async fn client_users_invite_as_far_as_they_may() {
    on_both_engines(async |engine| {
        let world = World::with_a_bakery(engine).await;
        world.create_organization("butcher").await;
        let orla = world.add("bakery", "orla@example.com", &["org-admin"]).await;
        let mia = world.add("bakery", "mia@example.com", &["member"]).await;
        let bob = world.add("butcher", "bob@example.com", &["org-admin"]).await;
        let invited = world.call(&orla.caller, CREATE, to(ANN, &["viewer"])).await.unwrap();
        assert_eq!(invited["inviter"], format!("users/{}", orla.user));
        let invitation = json!({ "name": invited["name"] });
        let read = world.call(&orla.caller, GET, invitation.clone()).await.unwrap();
        assert_eq!(read, invited);
        let list = json!({ "parent": BAKERY });
        let listed = world.call(&orla.caller, LIST, list.clone()).await.unwrap();
        assert_eq!(listed["invitations"], json!([invited]));

        // Nobody gives what it lacks, not even to one of several.
        let refused = async |method: &str, request: Value| {
            let status = world
                .refused(&orla.caller, method, request, Code::PermissionDenied, "GRANT_NOT_HELD")
                .await;
            status.get_details_error_info().unwrap().metadata["permission"].clone()
        };
        assert_eq!(
            refused(CREATE, to("ben@example.com", &["billing-manager"])).await,
            "billing.manage"
        );
        let one = json!({ "invitation": { "email": "ben@example.com" } });
        let other = json!({ "invitation": { "email": "carl@example.com", "permissions": ["billing.view"] } });
        let batch = json!({ "parent": BAKERY, "requests": [one, other] });
        assert_eq!(refused(BATCH, batch.clone()).await, "billing.view");
        assert_eq!(world.list_invitations("", 50).await, [ANN]);
        world.done(BATCH, batch).await;

        // Tokens are for those who mail them.
        let service = Caller::with(world.tokens.service("mailer"));
        let denied = (Code::PermissionDenied, "CALLER_NOT_ALLOWED");
        let lacking = (Code::PermissionDenied, "PERMISSION_MISSING");
        let not_theirs = (Code::NotFound, "RESOURCE_NOT_FOUND");
        for (caller, method, request, (code, why)) in [
            (&orla.caller, ISSUE, &invitation, denied),
            (&world.member, ISSUE, &invitation, denied),
            (&world.member, GET, &invitation, denied),
            (&service, GET, &invitation, denied),
            (&service, REVOKE, &invitation, denied),
            (&mia.caller, CREATE, &to("ben@example.com", &[]), lacking),
            (&mia.caller, GET, &invitation, lacking),
            (&mia.caller, LIST, &list, lacking),
            (&mia.caller, REVOKE, &invitation, lacking),
            (&bob.caller, GET, &invitation, not_theirs),
            (&bob.caller, CREATE, &to("ben@example.com", &[]), not_theirs),
        ] {
            world.refused(caller, method, request.clone(), code, why).await;
        }
        world.call(&service, ISSUE, invitation.clone()).await.unwrap();
        let revoked = world.call(&orla.caller, REVOKE, invitation).await.unwrap();
        assert_eq!(revoked["state"], "STATE_REVOKED");
    })
    .await;
}

#[tokio::test]
async fn a_role_that_is_promised_is_in_use() {
    on_both_engines(async |engine| {
        let world = World::with_a_bakery(engine).await;
        let role =
            json!({ "parent": BAKERY, "roleId": "sales", "role": { "title": "S", "permissions": ["leads.view"] } });
        world.done("RoleService/CreateRole", role).await;
        let delete = json!({ "name": format!("{BAKERY}/roles/sales") });
        let in_use = async |invitations: &str| {
            let status = world
                .refused(
                    &world.admin,
                    "RoleService/DeleteRole",
                    delete.clone(),
                    Code::FailedPrecondition,
                    "ROLE_IN_USE",
                )
                .await;
            let figures = status.get_details_error_info().unwrap().metadata;
            assert_eq!(
                (figures["members"].as_str(), figures["invitations"].as_str()),
                ("0", invitations)
            );
        };
        let ann = world.invite(ANN, &["viewer", "sales"]).await;
        world.invite("ben@example.com", &["sales"]).await;
        world.invite("carl@example.com", &["viewer"]).await;
        in_use("2").await;
        world.done(REVOKE, json!({ "name": ann["name"] })).await;
        in_use("1").await;
        world.expire("ben@example.com").await;
        world.done("RoleService/DeleteRole", delete.clone()).await;
    })
    .await;
}

#[tokio::test]
async fn a_list_shows_what_it_is_asked_for() {
    on_both_engines(async |engine| {
        let world = World::with_a_bakery(engine).await;
        world.create_organization("butcher").await;
        let elsewhere = json!({ "parent": BUTCHER, "invitation": { "email": ANN } });
        let elsewhere = world.done(CREATE, elsewhere).await;
        let mut emails = Vec::new();
        for at in 0..7 {
            let email = format!("person-{at}@example.com");
            let (name, token) = world.invite_with_token(&email, &[]).await;
            match at {
                1 => drop(world.accept(&name, &token).await),
                2 => drop(world.call(&nobody(), DECLINE, with(&name, &token)).await.unwrap()),
                3 => drop(world.done(REVOKE, json!({ "name": name })).await),
                4 | 5 => world.expire(&email).await,
                _ => {}
            }
            emails.push(email);
        }
        for page_size in 1..=8 {
            assert_eq!(world.list_invitations("", page_size).await, emails, "by {page_size}");
        }
        for (filter, found) in [
            ("state = PENDING", &[0, 6][..]),
            ("state = ACCEPTED", &[1]),
            ("state = DECLINED", &[2]),
            ("state = REVOKED", &[3]),
            ("state = EXPIRED", &[4, 5]),
            ("email = \"Person-4@example.com\"", &[4]),
            ("state = EXPIRED AND email = \"person-5@example.com\"", &[5]),
            ("state = PENDING AND email = \"person-5@example.com\"", &[]),
            ("state = PENDING AND state = EXPIRED", &[]),
            ("email = \"ann@example.com\"", &[]),
        ] {
            let found: Vec<&String> = found.iter().map(|at: &usize| &emails[*at]).collect();
            assert_eq!(
                world.list_invitations(filter, 1).await.iter().collect::<Vec<_>>(),
                found,
                "{filter}"
            );
        }
        let page = world
            .done(LIST, json!({ "parent": BAKERY, "filter": "state = EXPIRED" }))
            .await;
        assert_eq!(page["invitations"][0]["state"], "STATE_EXPIRED");
        for bad in [
            "state = GONE",
            "state = UNSPECIFIED",
            "state < PENDING",
            "role = sales",
            "email",
        ] {
            let request = json!({ "parent": BAKERY, "filter": bad });
            world
                .refused(&world.admin, LIST, request, Code::InvalidArgument, "INVALID_FIELDS")
                .await;
        }
        let first = world.done(LIST, json!({ "parent": BAKERY, "pageSize": 1 })).await;
        let moved = json!({ "parent": BUTCHER, "pageToken": first["nextPageToken"] });
        world
            .refused(&world.admin, LIST, moved, Code::InvalidArgument, "PAGE_TOKEN_INVALID")
            .await;
        // A name leads nowhere but to its own organization.
        let borrowed = elsewhere["name"].as_str().unwrap().replace("butcher", "bakery");
        for (method, name) in [
            (GET, borrowed.clone()),
            (REVOKE, borrowed),
            (GET, format!("{BAKERY}/invitations/x")),
        ] {
            let request = json!({ "name": name });
            world
                .refused(&world.admin, method, request, Code::NotFound, "RESOURCE_NOT_FOUND")
                .await;
        }
    })
    .await;
}

/// The time of the request is over when it is repeated; it was not when it was made.
#[tokio::test]
async fn a_repetition_is_answered_also_when_its_time_is_too_near_by_then() {
    for engine in [Engine::Sqlite, Engine::Postgres] {
        let world = World::with_a_bakery(engine).await;
        let span = Duration::from_secs(3600 + 6);
        let mut request = json!({
            "parent": BAKERY,
            "invitation": { "email": ANN, "expireTime": later(span) },
            "requestId": Uuid::new_v4().to_string(),
        });
        let created = world.done(CREATE, request.clone()).await;
        let nearest = Instant::now() + Duration::from_secs(6);
        let patience = Duration::from_secs(30);
        until(patience, "it is less than an hour", async || Instant::now() > nearest).await;
        assert_eq!(world.done(CREATE, request.clone()).await, created);
        request["requestId"] = json!(Uuid::new_v4().to_string());
        world
            .refused(&world.admin, CREATE, request, Code::InvalidArgument, "INVALID_FIELDS")
            .await;
    }
}

#[tokio::test]
async fn a_token_is_kept_nowhere() {
    on_both_engines(async |engine| {
        let world = World::with_a_bakery(engine).await;
        let (ann, first) = world.invite_with_token(ANN, &[]).await;
        world.pass_a_minute().await;
        let issue = json!({ "name": ann, "requestId": Uuid::new_v4().to_string() });
        let second = world.done(ISSUE, issue).await["token"].as_str().unwrap().to_owned();
        let mut accept = with(&ann, &second);
        accept["requestId"] = json!(Uuid::new_v4().to_string());
        world
            .refused(
                &nobody(),
                ACCEPT,
                with(&ann, &first),
                Code::NotFound,
                "RESOURCE_NOT_FOUND",
            )
            .await;
        world.call(&nobody(), ACCEPT, accept).await.unwrap();
        let (ben, third) = world.invite_with_token("ben@example.com", &[]).await;
        world.call(&nobody(), DECLINE, with(&ben, &third)).await.unwrap();
        let tokens = [first, second, third];
        let holds_none = |what: &str, bytes: &[u8]| {
            for token in &tokens {
                let found = bytes.windows(token.len()).any(|window| window == token.as_bytes());
                assert!(!found, "{what} has a token");
            }
        };

        let path = "/clientele.journal.v1.JournalService/ListEntries";
        let request = ListEntriesRequest {
            parent: "workspaces/acme".into(),
            page_size: 500,
            ..Default::default()
        };
        let (entries, _) = world
            .calls()
            .raw(path, &world.member, request.encode_to_vec().into())
            .await
            .unwrap();
        holds_none("the journal", &entries);
        let parent = "workspaces/acme".to_owned();
        let start = Some(Start::InitialState(InitialState {}));
        let watch = WatchRequest {
            parent,
            start,
            ..Default::default()
        };
        let mut feed = world
            .journal()
            .watch(world.admin.request(watch))
            .await
            .unwrap()
            .into_inner();
        let mut snapshots = 0;
        while let Some(Item::Entry(entry)) = feed.message().await.unwrap().unwrap().item {
            holds_none("the feed", &entry.encode_to_vec());
            snapshots += entry
                .changes
                .iter()
                .filter(|change| change.resource.contains("/invitations/"))
                .count();
        }
        assert_eq!(snapshots, 2);

        // Nor does the database have one, or anything that one could be made of.
        if engine == Engine::Sqlite {
            let url = world.service.config.database.expose();
            let file = url.strip_prefix("sqlite://").unwrap();
            let key = std::fs::read(&world.service.secret_key_file).unwrap();
            for file in [file.to_owned(), format!("{file}-wal")] {
                let bytes = std::fs::read(&file).unwrap();
                holds_none(&file, &bytes);
                assert!(
                    !bytes.windows(key.len()).any(|window| window == key),
                    "{file} has the key"
                );
            }
        }
    })
    .await;
}

/// The binary of org-service, as its operator runs it.
fn program(world: &World, command: &str, arguments: &[&str]) -> Command {
    let mut program = Command::new(env!("CARGO_BIN_EXE_org-service"));
    let config = &world.service.config;
    program
        .arg(command)
        .arg("--database")
        .arg(config.database.expose())
        .arg("--issuers")
        .arg(&config.issuers);
    program.arg("--logos").arg(&world.service.logos).args(arguments);
    program.arg("--secret-key-file").arg(&world.service.secret_key_file);
    program.arg("--session-keys").arg(&world.service.session_keys);
    program
}

/// The binary that serves the database of a world, and logs everything it can.
pub(crate) struct Logged {
    process: Child,
    log: JoinHandle<String>,
    calls: Calls,
}

impl Logged {
    pub(crate) async fn start(world: &World) -> Self {
        let everything = "trace,h2=info,hyper=info,tower=info";
        let arguments = [
            "--listen",
            "127.0.0.1:0",
            "--drain-delay",
            "0",
            "--trace-ratio",
            "1",
            "--log",
            everything,
        ];
        let mut process = program(world, "serve", &arguments)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut log = process.stdout.take().unwrap();
        let (told, mut address) = tokio::sync::watch::channel(None);
        let log = std::thread::spawn(move || {
            let (mut text, mut bytes) = (String::new(), [0; 4096]);
            while let Ok(count @ 1..) = log.read(&mut bytes) {
                text.push_str(&String::from_utf8_lossy(&bytes[..count]));
                let listens = text
                    .split("\"address\":\"")
                    .nth(1)
                    .and_then(|rest| rest.split_once('"'));
                if let Some((listens, _)) = listens {
                    told.send_replace(Some(format!("http://{listens}")));
                }
            }
            text
        });
        let patience = Duration::from_secs(60);
        let listens = tokio::time::timeout(patience, address.wait_for(Option::is_some)).await;
        let endpoint = listens.unwrap().unwrap().clone().unwrap();
        let calls = Calls::new(Channel::from_shared(endpoint).unwrap().connect().await.unwrap());
        Self { process, log, calls }
    }

    pub(crate) async fn call(&self, caller: &Caller, method: &str, request: Value) -> Result<Value, Status> {
        let path = format!("/clientele.org.v1.{method}");
        let answered = self.calls.call(&path, caller, request).await;
        answered.map(|(answer, _)| answer)
    }

    /// Ends it; what it has logged.
    pub(crate) fn stop(mut self) -> String {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
        self.log.join().unwrap()
    }
}

#[tokio::test]
async fn neither_log_nor_settings_have_a_token_or_the_key() {
    let world = World::with_a_bakery(Engine::Sqlite).await;
    let key = "0123456789abcdef0123456789abcdef";
    std::fs::write(&world.service.secret_key_file, key).unwrap();
    let shown = program(&world, "config", &[]).output().unwrap();
    let shown = String::from_utf8(shown.stdout).unwrap();
    assert!(shown.contains("secret_key_file") && !shown.contains(key), "{shown}");

    let server = Logged::start(&world).await;
    let name = server.call(&world.admin, CREATE, to(ANN, &[])).await.unwrap()["name"].clone();
    let issued = server.call(&world.admin, ISSUE, json!({ "name": name })).await.unwrap();
    let token = issued["token"].as_str().unwrap();
    let elsewhere = json!(name.as_str().unwrap().replace("bakery", "butcher"));
    server
        .call(&nobody(), ACCEPT, with(&elsewhere, token))
        .await
        .unwrap_err();
    server.call(&nobody(), ACCEPT, with(&name, token)).await.unwrap();
    server.call(&nobody(), DECLINE, with(&name, token)).await.unwrap_err();
    // A fault of the service is logged with its cause.
    world.sql("ALTER TABLE invitations RENAME TO lost").await;
    let fault = server.call(&nobody(), ACCEPT, with(&name, token)).await.unwrap_err();
    assert_eq!(fault.code(), Code::Internal);
    let log = server.stop();
    assert!(
        log.contains("connection accepted") && log.contains("a call failed"),
        "{log}"
    );
    assert!(!log.contains(token) && !log.contains(key));
}

#[tokio::test]
async fn a_server_without_a_good_key_does_not_start() {
    let world = World::with_a_bakery(Engine::Sqlite).await;
    let folder = tempfile::tempdir().unwrap();
    let short = folder.path().join("short.key");
    std::fs::write(&short, [7; 31]).unwrap();
    let missing = folder.path().join("missing.key");
    for (file, why) in [
        (short, "has 31 bytes: write at least 32 random ones"),
        (missing, "can't read the secret key"),
    ] {
        let service = OrgService {
            secret_key_file: file.clone(),
            ..world.service.clone()
        };
        let error = format!("{:#}", service.build().await.unwrap_err());
        assert!(error.contains(why) && error.contains(file.to_str().unwrap()), "{error}");
    }
}
