//! Walks over every method of the descriptors: a new method is covered without being named.

use crate::calls::{Caller, Calls, reason};
use crate::tokens::Tokens;
use clientele_api::access::{Method, Name, StaffRole};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use tonic::Code;
use uuid::Uuid;

/// Calls every method of these services as everybody who may not: without a token, with an expired one, as the owner of another
/// workspace, with too low a role, as a service where the policy names none, and as a client user of nowhere; with every pattern that
/// its names have, and without those that may be left out. It is never answered and never INTERNAL. Public methods anybody may call: but
/// nothing proves anything here.
///
/// `workspace` and `organization` exist on the server.
pub async fn refuse_everybody_else(
    calls: &Calls,
    tokens: &Tokens,
    services: &[&str],
    workspace: &str,
    organization: &str,
) {
    let methods = calls.methods(services);
    assert!(!methods.is_empty());
    for descriptor in methods {
        let path = format!("/{}/{}", descriptor.parent_service().full_name(), descriptor.name());
        let method = clientele_api::method(&path).unwrap_or_else(|| panic!("{path} has no policy"));
        for request in named_requests(method, workspace, organization) {
            let refused = async |who: &str, caller: Caller, codes: &[Code]| {
                let status = match calls.call(&path, &caller, request.clone()).await {
                    Ok((answer, _)) => panic!("{path} {request} answered {who}: {answer}"),
                    Err(status) => status,
                };
                assert!(codes.contains(&status.code()), "{path} {request} to {who}: {status:?}");
                reason(&status);
            };
            if method.public && method.names.is_empty() {
                continue; // what it answers is for everybody
            }
            if method.public {
                let unproven = [Code::NotFound, Code::InvalidArgument, Code::Unauthenticated];
                refused("nobody", Caller::default(), &unproven).await;
                refused("an expired token", Caller::with(tokens.expired_operator()), &unproven).await;
                continue;
            }
            refused("nobody", Caller::default(), &[Code::Unauthenticated]).await;
            refused("garbage", Caller::with("a.b.c"), &[Code::Unauthenticated]).await;
            refused(
                "an expired token",
                Caller::with(tokens.expired_operator()),
                &[Code::Unauthenticated],
            )
            .await;
            let nowhere = tokens.user(&Uuid::now_v7().to_string(), &Uuid::now_v7().to_string());
            refused(
                "a client user of nowhere",
                Caller::with(nowhere),
                &[Code::NotFound, Code::PermissionDenied],
            )
            .await;
            let stranger = Caller::with(tokens.staff("somebody-else", StaffRole::Owner));
            refused("a stranger", stranger, &[Code::NotFound, Code::PermissionDenied]).await;
            if let Some(role) = below(method.role) {
                refused(
                    "too low a role",
                    Caller::with(tokens.staff(workspace, role)),
                    &[Code::PermissionDenied],
                )
                .await;
            }
            if !method.names.is_empty() && request == json!({}) {
                refused(
                    "staff above workspaces",
                    Caller::with(tokens.staff(workspace, StaffRole::Owner)),
                    &[Code::PermissionDenied],
                )
                .await;
            }
            if !method.service {
                refused(
                    "a service",
                    Caller::with(tokens.service("stranger")),
                    &[Code::PermissionDenied],
                )
                .await;
            }
        }
    }
}

/// Client users: three of one organization, and one of another.
#[derive(Debug, Clone)]
pub struct ClientUsers {
    /// An org admin.
    pub admin: Caller,
    /// A member who holds no permission.
    pub nobody: Caller,
    /// An org admin who is suspended.
    pub suspended: Caller,
    /// An org admin of another organization of the same workspace.
    pub neighbour: Caller,
}

/// Calls every method of these services as client users who may not, with the names of what exists: above and beside their organization,
/// in it with too little, and while they are shut out. What another organization has looks as if it did not exist.
pub async fn refuse_client_users(
    calls: &Calls,
    services: &[&str],
    workspace: &str,
    organization: &str,
    users: &ClientUsers,
) {
    for descriptor in calls.methods(services) {
        let path = format!("/{}/{}", descriptor.parent_service().full_name(), descriptor.name());
        let method = clientele_api::method(&path).unwrap_or_else(|| panic!("{path} has no policy"));
        if method.public {
            continue;
        }
        for request in named_requests(method, workspace, organization) {
            let named = request.to_string();
            // A session is looked for among those of whoever calls.
            let of_session = named.contains("/sessions/");
            let open = !method.permissions.is_empty() && (named.contains("/organizations/") || of_session);
            let missing = if of_session {
                "RESOURCE_NOT_FOUND"
            } else {
                "PERMISSION_MISSING"
            };
            let about_somebody = named.contains("/members/");
            let for_all = method.permissions.contains(&"*");
            // Where no person is named, it gets itself and nobody else.
            let answered = for_all || (method.permissions.contains(&"self") && !about_somebody && !of_session);
            let refusals = [
                (
                    "an org admin",
                    &users.admin,
                    match (open, of_session) {
                        (false, _) => Some("CALLER_NOT_ALLOWED"),
                        (true, true) => Some(missing),
                        (true, false) => None,
                    },
                ),
                (
                    "a suspended one",
                    &users.suspended,
                    Some(if open { "ACCESS_DENIED" } else { "CALLER_NOT_ALLOWED" }),
                ),
                (
                    "a neighbour",
                    &users.neighbour,
                    Some(if open {
                        "RESOURCE_NOT_FOUND"
                    } else {
                        "CALLER_NOT_ALLOWED"
                    }),
                ),
                (
                    "who holds nothing",
                    &users.nobody,
                    match (open, answered) {
                        (false, _) => Some("CALLER_NOT_ALLOWED"),
                        (true, false) => Some(missing),
                        (true, true) => None,
                    },
                ),
            ];
            for (who, caller, why) in refusals {
                let Some(why) = why else { continue };
                match calls.call(&path, caller, request.clone()).await {
                    Ok((answer, _)) => panic!("{path} {request} answered {who}: {answer}"),
                    Err(status) => assert_eq!(reason(&status), why, "{path} {request} to {who}: {status:?}"),
                }
            }
        }
    }
}

/// The highest role that is too low. Methods for operators only are above owners; none is below members.
fn below(role: Option<StaffRole>) -> Option<StaffRole> {
    match role {
        None => Some(StaffRole::Owner),
        Some(StaffRole::Owner) => Some(StaffRole::Admin),
        Some(StaffRole::Admin) => Some(StaffRole::Member),
        Some(StaffRole::Member) => None,
    }
}

/// Requests that name what exists, and nothing else: one for every pattern of the names, and one without those that may be empty.
fn named_requests(method: &Method, workspace: &str, organization: &str) -> Vec<Value> {
    let patterns = method.names.iter().map(|name| name.patterns.len()).max().unwrap_or(1);
    let mut requests: Vec<Value> = (0..patterns)
        .map(|at| named_request(method.names, at, workspace, organization))
        .collect();
    if method.names.iter().any(|name| name.optional) {
        let required = method.names.iter().filter(|name| !name.optional);
        requests.push(named_request(required, 0, workspace, organization));
    }
    requests
}

fn named_request<'n>(
    names: impl IntoIterator<Item = &'n Name>,
    pattern: usize,
    workspace: &str,
    organization: &str,
) -> Value {
    let mut request = json!({});
    for name in names {
        let pattern = name.patterns[pattern.min(name.patterns.len() - 1)];
        let value = pattern
            .replace("{workspace}", workspace)
            .replace("{organization}", organization);
        let segment = |part: &str| {
            if part.starts_with('{') {
                "some-id".to_owned()
            } else {
                part.to_owned()
            }
        };
        let value: Vec<String> = value.split('/').map(segment).collect();
        let mut place = &mut request;
        for step in name.field.split('.') {
            place = &mut place[step];
        }
        *place = value.join("/").into();
    }
    request
}

/// A mutation that succeeds when its turn comes.
#[derive(Debug, Clone)]
pub struct Step {
    /// The method's path.
    pub method: &'static str,
    /// The request, without a request id.
    pub request: Value,
}

/// Makes the steps in their order as an operator, each with a request id, and then all of them once more: each repetition must get the
/// first answer and change nothing; from somebody else it must be refused. Fails if a mutation of these services is not among the steps.
pub async fn replay_every_mutation(calls: &Calls, tokens: &Tokens, services: &[&str], steps: Vec<Step>) {
    let missing: BTreeSet<String> = calls
        .methods(services)
        .iter()
        .filter(|method| method.input().get_field_by_name("request_id").is_some())
        .map(|method| format!("/{}/{}", method.parent_service().full_name(), method.name()))
        .filter(|path| !steps.iter().any(|step| step.method == *path))
        .collect();
    assert!(missing.is_empty(), "no step replays {missing:?}");

    let operator = Caller::with(tokens.operator());
    let mut done = Vec::new();
    for mut step in steps {
        step.request["requestId"] = Uuid::new_v4().to_string().into();
        let first = calls.call(step.method, &operator, step.request.clone()).await;
        let first = first.unwrap_or_else(|status| panic!("{}: {status:?}", step.method));
        done.push((step, first));
    }
    let somebody_else = Caller::with(tokens.operator_named("oscar"));
    for (Step { method, request }, (answer, headers)) in &done {
        let revision = headers.get("clientele-revision");
        assert!(revision.is_some(), "{method} has no revision");
        let again = calls.call(method, &operator, request.clone()).await;
        let (again, headers) = again.unwrap_or_else(|status| panic!("{method} again: {status:?}"));
        assert_eq!(*answer, again, "{method} did not answer its repetition as before");
        assert_eq!(revision, headers.get("clientele-revision"), "{method} happened twice");
        let refused = calls.call(method, &somebody_else, request.clone()).await;
        let refused = refused.expect_err("somebody else used the request id");
        assert_eq!(reason(&refused), "REQUEST_ID_REUSED", "{method}: {refused:?}");
    }
}
