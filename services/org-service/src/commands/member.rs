//! What can be done with members.

use super::App;
use crate::domain::grants::Grants;
use crate::domain::member::{Member, NewMember, Who};
use crate::domain::organization::Organization;
use crate::domain::user::{Email, NewUser, User, user_name};
use crate::store;
use crate::store::member::{Query, Term};
use clientele_api::error::ErrorReason;
use clientele_api::journal::Change;
use clientele_api::name::{OrganizationRef, last_id};
use clientele_api::org::member::{Presence, State};
use clientele_api::permission::{Effective, Permission};
use clientele_api::{Error, Micros, Result, Uid, Violations, org as api, parse};
use clientele_service::batch;
use clientele_service::filter::{self, Operator};
use clientele_service::scope::Scope;
use clientele_service::standing::{SignedIn, Standing, require_held};
use clientele_store::tx::Tx;
use clientele_store::{Answer, PageRequest, Recorded};
use std::collections::BTreeMap;
use std::sync::Arc;

/// How many permissions are tested together.
const LARGEST_TEST: usize = 100;

/// Adds a member.
pub async fn create(
    app: &App,
    scope: Scope<OrganizationRef>,
    request: api::CreateMemberRequest,
) -> Result<Answer<api::Member>> {
    let mut violations = Violations::new();
    let new = NewMember::parse(&request, "", &mut violations);
    let new = violations.finish(new)?;
    let author = scope.author();
    let unit = async move |tx: &Tx| {
        let (organization, _) = store::organization::lock(tx, &scope).await?;
        let added = add(tx, &scope, &organization, vec![new]).await?;
        let answer = added.members.into_iter().next().unwrap_or_default();
        Ok(Recorded {
            changes: added.changes,
            ..Recorded::nothing(answer)
        })
    };
    app.journal.write(author, unit).await
}

/// Adds several members, all of them or none.
pub async fn batch_create(
    app: &App,
    scope: Scope<OrganizationRef>,
    request: api::BatchCreateMembersRequest,
) -> Result<Answer<api::BatchCreateMembersResponse>> {
    let wanted = read_batch(&request)?;
    let author = scope.author();
    let unit = async move |tx: &Tx| {
        let (organization, _) = store::organization::lock(tx, &scope).await?;
        let added = add(tx, &scope, &organization, wanted).await?;
        let members = added.members;
        Ok(Recorded {
            changes: added.changes,
            ..Recorded::nothing(api::BatchCreateMembersResponse { members })
        })
    };
    app.journal.write(author, unit).await
}

fn read_batch(request: &api::BatchCreateMembersRequest) -> Result<Vec<NewMember>> {
    let mut violations = Violations::new();
    if batch::has_wrong_size(&request.requests, &mut violations) {
        return violations.finish(None);
    }
    let mut wanted = Vec::new();
    let workspace = request.parent.split("/organizations/").next().unwrap_or_default();
    for (at, one) in request.requests.iter().enumerate() {
        let path = format!("requests[{at}]");
        batch::check_part(one, &one.parent, &request.parent, &path, &mut violations);
        let path = format!("{path}.");
        if !one.user.is_empty() && one.user != format!("{workspace}/users/{}", last_id(&one.user)) {
            violations.add(
                format!("{path}user"),
                "must be of the form workspaces/{workspace}/users/{user}, in this workspace",
            );
        }
        wanted.extend(NewMember::parse(one, &path, &mut violations));
    }
    violations.finish(Some(wanted))
}

/// The members that a unit added, as they are seen, and what changed by it.
pub(super) struct Added {
    pub(super) members: Vec<api::Member>,
    /// The users who they are.
    pub(super) users: Vec<Uid>,
    pub(super) changes: Vec<Change>,
}

/// Adds members in a unit that has locked the organization: with few reads, however many they are.
pub(super) async fn add(
    tx: &Tx,
    scope: &Scope<OrganizationRef>,
    organization: &Organization,
    wanted: Vec<NewMember>,
) -> Result<Added> {
    store::role::of_grants(tx, scope, wanted.iter().map(|new| &new.grants)).await?;
    let users = read_users(tx, scope, &wanted).await?;
    let uids: Vec<Uid> = users.keys().copied().collect();
    let present = store::member::read_all(tx, scope, &uids).await?;
    let mut present: BTreeMap<Uid, Member> = present.into_iter().map(|member| (member.user, member)).collect();
    let used = store::member::count(tx, scope).await?;
    let now = Micros::now();
    let (mut new_users, mut new_members) = (Vec::new(), Vec::new());
    let mut added = Added {
        members: Vec::new(),
        users: Vec::new(),
        changes: Vec::new(),
    };
    for new in wanted {
        let user = match &new.who {
            Who::User(uid) => users.get(uid).cloned().ok_or_else(|| twice(scope, *uid))?,
            Who::New(person) => {
                let user = person.clone().into_user(&scope.organization().workspace, now);
                added.changes.push(Change::created(&api::User::from(&user)));
                new_users.push(user.clone());
                user
            }
        };
        let member = match present.remove(&user.uid) {
            Some(before) => {
                let member = before.revive(new.clone(), now)?;
                store::member::update(tx, scope, &member);
                let message = api::Member::from(&member);
                added
                    .changes
                    .push(Change::undeleted(&api::Member::from(&before), &message));
                member
            }
            None => {
                let member = new.clone().into_member(scope.organization(), user.uid, now);
                added.changes.push(Change::created(&api::Member::from(&member)));
                new_members.push(member.clone());
                member
            }
        };
        added.members.push(answer(scope, &member, &user, &new.who));
        added.users.push(user.uid);
    }
    organization.require_room_for_members(used, added.members.len() as u64)?;
    store::user::insert(tx, scope, &new_users);
    store::member::insert(tx, scope, &new_members);
    Ok(added)
}

fn answer(scope: &Scope<OrganizationRef>, member: &Member, user: &User, who: &Who) -> api::Member {
    let mut message = member.seen(user.into(), false);
    if scope.validate_only() && matches!(who, Who::New(_)) {
        // Who is not yet a user has no id yet.
        message.name.clear();
        message.user.clear();
    }
    message
}

/// The users among those who are wanted; those who are to be new must not be among them.
async fn read_users(tx: &Tx, scope: &Scope<OrganizationRef>, wanted: &[NewMember]) -> Result<BTreeMap<Uid, User>> {
    let workspace = &scope.organization().workspace;
    let (mut uids, mut emails) = (Vec::new(), Vec::<Email>::new());
    for new in wanted {
        match &new.who {
            Who::User(uid) if uids.contains(uid) => return Err(twice(scope, *uid)),
            Who::User(uid) => uids.push(*uid),
            Who::New(NewUser { email, .. }) if emails.iter().any(|other| other.key() == email.key()) => {
                let rule = format!("must hold {:?} once", email.as_str());
                return Err(Error::field("requests", rule));
            }
            Who::New(NewUser { email, .. }) => emails.push(email.clone()),
        }
    }
    let found = store::user::read_all(tx, workspace, &uids).await?;
    let found: BTreeMap<Uid, User> = found.into_iter().map(|user| (user.uid, user)).collect();
    if let Some(missing) = uids.iter().find(|uid| !found.contains_key(uid)) {
        return Err(store::user::not_found(workspace, *missing));
    }
    match store::user::read_by_email(tx, workspace, &emails).await?.first() {
        Some(user) => Err(email_taken(user)),
        None => Ok(found),
    }
}

fn twice(scope: &Scope<OrganizationRef>, user: Uid) -> Error {
    let name = user_name(&scope.organization().workspace, user);
    Error::field("requests", format!("must hold {name:?} once"))
}

fn email_taken(user: &User) -> Error {
    let name = user.name();
    let message = format!("{name:?} has the email {:?}: add that user", user.email.as_str());
    Error::new(ErrorReason::EmailTaken, message)
        .with("user", &name)
        .about("User", name)
}

/// Gets a member.
pub async fn get(app: &App, scope: Scope<OrganizationRef>, name: &str) -> Result<Answer<api::Member>> {
    let found = store::member::get(&app.reader, &scope, user_id(&scope, name)?).await?;
    Ok(found.map(|member| as_seen_by(&scope, member)))
}

/// Client users know the people who are members of their organization, not what has become of those who were.
fn as_seen_by(scope: &Scope<OrganizationRef>, member: api::Member) -> api::Member {
    match member.state() {
        State::Removed if scope.client().is_some() => api::Member { person: None, ..member },
        _ => member,
    }
}

/// Lists the members of the organization.
pub async fn list(
    app: &App,
    scope: Scope<OrganizationRef>,
    request: api::ListMembersRequest,
) -> Result<Answer<api::ListMembersResponse>> {
    let page = PageRequest::read(&request, scope.organization().uid)?;
    let terms = filter::parse(&request.filter)?;
    let query = Query {
        show_removed: request.show_removed,
        people_of_removed: scope.client().is_none(),
        only: scope
            .client()
            .filter(|client| client.only_itself)
            .map(|client| client.user),
        terms: terms.iter().map(read_term).collect::<Result<_>>()?,
    };
    let rows = store::member::list(&app.reader, &scope, &query, page.after_uid()?, page.size + 1).await?;
    Ok(rows.map(|rows| {
        let key = |last: &api::Member| {
            Uid::parse(&last.uid)
                .map(|uid| uid.0.as_bytes().to_vec())
                .unwrap_or_default()
        };
        let (members, next_page_token) = page.fill(rows, |row| as_seen_by(&scope, row.clone()), key);
        api::ListMembersResponse {
            members,
            next_page_token,
        }
    }))
}

fn read_term(term: &filter::Term) -> Result<Term> {
    match (term.field.as_str(), term.operator) {
        ("state", Operator::Equal) => {
            let state = State::from_str_name(&format!("STATE_{}", term.value));
            let state = state.filter(|state| *state != State::Unspecified);
            let state = state.ok_or_else(|| filter::malformed("state must be ACTIVE, SUSPENDED or REMOVED"))?;
            Ok(Term::State(state))
        }
        ("role", Operator::Equal) => {
            let id = parse::resource_id(&term.value);
            Ok(Term::Role(
                id.map_err(|_| filter::malformed("role must be the id of a role"))?,
            ))
        }
        ("email", Operator::Equal) => Ok(Term::Email(term.value.clone())),
        _ => Err(filter::unknown(term)),
    }
}

/// Changes fields of a member.
pub async fn update(
    app: &App,
    scope: Scope<OrganizationRef>,
    request: api::UpdateMemberRequest,
) -> Result<Answer<api::Member>> {
    let mask = scope.mask(&request)?;
    let message = request.member.unwrap_or_default();
    let which = Which {
        name: message.name.clone(),
        etag: message.etag.clone(),
        force: request.force,
    };
    change(app, scope, which, move |member| {
        let mut violations = Violations::new();
        let after = member.update(&message, &mask, &mut violations, Micros::now())?;
        violations.finish(Some(after))
    })
    .await
}

/// Shuts a member out.
pub async fn suspend(
    app: &App,
    scope: Scope<OrganizationRef>,
    request: api::SuspendMemberRequest,
) -> Result<Answer<api::Member>> {
    let which = Which {
        name: request.name,
        etag: request.etag,
        force: request.force,
    };
    change(app, scope, which, |member| member.suspend(Micros::now())).await
}

/// Ends a suspension.
pub async fn resume(
    app: &App,
    scope: Scope<OrganizationRef>,
    request: api::ResumeMemberRequest,
) -> Result<Answer<api::Member>> {
    let which = Which {
        name: request.name,
        etag: request.etag,
        force: false,
    };
    change(app, scope, which, |member| member.resume(Micros::now())).await
}

/// Removes a member.
pub async fn remove(
    app: &App,
    scope: Scope<OrganizationRef>,
    request: api::RemoveMemberRequest,
) -> Result<Answer<api::Member>> {
    let which = Which {
        name: request.name,
        etag: request.etag,
        force: request.force,
    };
    change(app, scope, which, |member| member.remove(Micros::now())).await
}

/// Which member is to change, and how it must be.
#[derive(Clone)]
struct Which {
    name: String,
    etag: String,
    /// Also if it is the last org admin.
    force: bool,
}

/// Reads the member, lets the verb make its next version, and writes that. A verb that changes nothing answers its equal.
async fn change<Verb>(app: &App, scope: Scope<OrganizationRef>, which: Which, verb: Verb) -> Result<Answer<api::Member>>
where
    Verb: Fn(&Member) -> Result<Member> + Clone + Send + Sync + 'static,
{
    let user = user_id(&scope, &which.name)?;
    let author = scope.author();
    let unit = async move |tx: &Tx| {
        let (_, giver) = store::organization::lock(tx, &scope).await?;
        let (before, person, online) = store::member::read(tx, &scope, user).await?;
        before.check_etag(&which.etag)?;
        let after = verb(&before)?;
        if after == before {
            return Ok(Recorded::nothing(before.seen(person, online)));
        }
        require_may_give(tx, &scope, giver.as_ref(), &after.grants.beyond(&before.grants)).await?;
        require_org_admin_left(tx, &scope, &before, &after, which.force).await?;
        store::member::update(tx, &scope, &after);
        let mut changes = vec![describe(&before, &after)];
        if !after.present() {
            changes.extend(super::team::leave_all(tx, &scope, user, after.update_time).await?);
        }
        let answer = after.seen(person, online && after.present());
        Ok(Recorded {
            changes,
            ..Recorded::nothing(answer)
        })
    };
    app.journal.write(author, unit).await
}

/// Refuses roles that there are not, and what the giver does not hold. Nobody grants what they lack.
pub(super) async fn require_may_give(
    tx: &Tx,
    scope: &Scope<OrganizationRef>,
    giver: Option<&Effective>,
    given: &Grants,
) -> Result<()> {
    let custom = store::role::of_grants(tx, scope, [given]).await?;
    match giver {
        Some(giver) => require_held(giver, &given.effective(&custom)),
        None => Ok(()),
    }
}

/// Refuses to take the last org admin away, unless the workspace's staff forces it.
async fn require_org_admin_left(
    tx: &Tx,
    scope: &Scope<OrganizationRef>,
    before: &Member,
    after: &Member,
    force: bool,
) -> Result<()> {
    let forced = force && scope.client().is_none();
    if forced || !before.active_org_admin() || after.active_org_admin() {
        return Ok(());
    }
    match store::member::has_other_org_admin(tx, scope, before).await? {
        true => Ok(()),
        false => Err(before.last_org_admin()),
    }
}

fn describe(before: &Member, after: &Member) -> Change {
    let (old, new) = (api::Member::from(before), api::Member::from(after));
    match after.state {
        State::Removed => Change::deleted(&old, &new),
        _ => Change::updated(&old, &new, before.changed_fields(after)),
    }
}

/// Says whether the member is there.
pub async fn set_presence(
    app: &App,
    scope: Scope<OrganizationRef>,
    request: api::SetPresenceRequest,
) -> Result<Answer<api::Member>> {
    let mut violations = Violations::new();
    let presence = violations.check("presence", parse::enum_value::<Presence>(request.presence));
    let presence = violations.finish(presence)?;
    let user = user_id(&scope, &request.name)?;
    let author = scope.author();
    let unit = async move |tx: &Tx| {
        store::standing::confirm(tx, &scope).await?;
        let (member, person, _) = store::member::read(tx, &scope, user).await?;
        member.require_active()?;
        let online = presence == Presence::Online;
        store::member::set_presence(tx, &scope, &member, online);
        Ok(Recorded::nothing(member.seen(person, online)))
    };
    app.journal.write(author, unit).await
}

/// Lists what a member may do, and what gives each permission.
pub async fn list_effective_permissions(
    app: &App,
    scope: Scope<OrganizationRef>,
    name: &str,
) -> Result<Answer<api::ListEffectivePermissionsResponse>> {
    let standing = standing(app, &scope, name).await?;
    Ok(standing.map(|standing| {
        let permissions = match standing.require_access() {
            Ok(()) => standing.permissions.iter().map(effective).collect(),
            Err(_) => Vec::new(),
        };
        api::ListEffectivePermissionsResponse {
            permissions,
            denial: standing.denial.into(),
        }
    }))
}

fn effective((permission, sources): (&Permission, &clientele_api::permission::Sources)) -> api::EffectivePermission {
    api::EffectivePermission {
        permission: permission.to_string(),
        roles: sources.roles.clone(),
        granted: sources.granted,
    }
}

/// Tells which permissions a member holds.
pub async fn test_permissions(
    app: &App,
    scope: Scope<OrganizationRef>,
    request: api::TestPermissionsRequest,
) -> Result<Answer<api::TestPermissionsResponse>> {
    let asked = request.permissions;
    let mut violations = Violations::new();
    if asked.is_empty() || asked.len() > LARGEST_TEST {
        violations.add(
            "permissions",
            format!("must be 1 to {LARGEST_TEST}, not {}", asked.len()),
        );
    } else if let Some(Err(invalid)) = asked.iter().map(|text| Permission::parse(text)).find(Result::is_err) {
        violations.check::<()>("permissions", Err(invalid));
    }
    violations.finish(Some(()))?;
    let standing = standing(app, &scope, &request.name).await?;
    Ok(standing.map(|standing| {
        let holds = |asked: &String| standing.require_access().is_ok() && standing.permissions.holds(asked);
        let permissions = asked.into_iter().filter(holds).collect();
        api::TestPermissionsResponse { permissions }
    }))
}

async fn standing(app: &App, scope: &Scope<OrganizationRef>, name: &str) -> Result<Answer<Arc<Standing>>> {
    let (organization, user) = (scope.organization(), user_id(scope, name)?);
    let who = SignedIn {
        organization: organization.uid,
        user,
        session: None,
    };
    let found = app.standings.get(who, scope.min_revision()).await?;
    found.try_map(|standing| standing.ok_or_else(|| store::member::not_found(organization, user)))
}

/// The user in the name of a member, or of one that can't be.
fn user_id(scope: &Scope<OrganizationRef>, name: &str) -> Result<Uid> {
    let id = last_id(name);
    Uid::parse(id).ok_or_else(|| Error::not_found("Member", format!("{}/members/{id}", scope.organization().name())))
}
