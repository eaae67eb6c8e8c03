//! What can be done with invitations.

use super::App;
use super::member::{self, require_may_give};
use super::{password, team};
use crate::domain::grants::Grants;
use crate::domain::invitation::{Invitation, Inviter, NewInvitation};
use crate::domain::member::{Member, NewMember, Notification, Who};
use crate::domain::organization::Organization;
use crate::domain::password::PasswordHash;
use crate::domain::user::{self, Email, NewUser, User};
use crate::store;
use crate::store::invitation::Term;
use clientele_api::error::{ErrorReason, Invalid};
use clientele_api::journal::Change;
use clientele_api::name::{OrganizationRef, last_id};
use clientele_api::org::invitation::State;
use clientele_api::{Error, Micros, Result, Uid, Violations, org as api};
use clientele_service::batch;
use clientele_service::filter::{self, Operator};
use clientele_service::scope::Scope;
use clientele_service::standing::{SignedIn, session_ended};
use clientele_store::tx::Tx;
use clientele_store::{Answer, PageRequest, Recorded};
use std::collections::BTreeSet;
use std::slice;

/// What an inviter must still hold when its invitation is accepted.
const INVITE: &str = "members.manage";

/// Invites a person.
pub async fn create(
    app: &App,
    scope: Scope<OrganizationRef>,
    request: api::CreateInvitationRequest,
) -> Result<Answer<api::Invitation>> {
    let mut violations = Violations::new();
    let invitation = request.invitation.as_ref();
    let new = NewInvitation::parse(invitation, "invitation", Micros::now(), &mut violations);
    let new = violations.finish(new)?;
    let author = scope.author();
    let unit = async move |tx: &Tx| {
        let invitations = invite(tx, &scope, vec![new]).await?;
        let changes = invitations.iter().map(Change::created).collect();
        let answer = invitations.into_iter().next().unwrap_or_default();
        Ok(Recorded {
            changes,
            ..Recorded::nothing(answer)
        })
    };
    app.journal.write(author, unit).await
}

/// Invites several people, all of them or none.
pub async fn batch_create(
    app: &App,
    scope: Scope<OrganizationRef>,
    request: api::BatchCreateInvitationsRequest,
) -> Result<Answer<api::BatchCreateInvitationsResponse>> {
    let wanted = read_batch(&request)?;
    let author = scope.author();
    let unit = async move |tx: &Tx| {
        let invitations = invite(tx, &scope, wanted).await?;
        Ok(Recorded {
            changes: invitations.iter().map(Change::created).collect(),
            ..Recorded::nothing(api::BatchCreateInvitationsResponse { invitations })
        })
    };
    app.journal.write(author, unit).await
}

fn read_batch(request: &api::BatchCreateInvitationsRequest) -> Result<Vec<NewInvitation>> {
    let mut violations = Violations::new();
    if batch::has_wrong_size(&request.requests, &mut violations) {
        return violations.finish(None);
    }
    let (mut wanted, mut emails) = (Vec::new(), BTreeSet::new());
    let now = Micros::now();
    for (at, one) in request.requests.iter().enumerate() {
        let path = format!("requests[{at}]");
        batch::check_part(one, &one.parent, &request.parent, &path, &mut violations);
        let path = format!("{path}.invitation");
        let Some(new) = NewInvitation::parse(one.invitation.as_ref(), &path, now, &mut violations) else {
            continue;
        };
        if !emails.insert(new.email.key()) {
            let rule = format!("{:?} must be in the batch once", new.email.as_str());
            violations.add(format!("{path}.email"), rule);
        }
        wanted.push(new);
    }
    violations.finish(Some(wanted))
}

/// Invites people: with few reads, however many they are.
async fn invite(tx: &Tx, scope: &Scope<OrganizationRef>, wanted: Vec<NewInvitation>) -> Result<Vec<api::Invitation>> {
    let (organization, giver) = store::organization::lock(tx, scope).await?;
    let given = Grants::all(wanted.iter().map(|new| &new.grants));
    require_may_give(tx, scope, giver.as_ref(), &given).await?;
    let keys: BTreeSet<String> = wanted.iter().flat_map(|new| new.team_keys.clone()).collect();
    team::require_keys(tx, scope, &Vec::from_iter(keys)).await?;
    let emails: Vec<Email> = wanted.iter().map(|new| new.email.clone()).collect();
    let now = Micros::now();
    require_neither_member_nor_invited(tx, scope, &emails, now).await?;
    let used = store::invitation::count_pending(tx, scope, now).await?;
    organization.require_room_for_invitations(used, wanted.len() as u64)?;
    let inviter = Inviter {
        actor: scope.actor(),
        user: scope.client().map(|client| client.user),
    };
    let invitations: Vec<Invitation> = wanted
        .into_iter()
        .map(|new| new.into_invitation(scope.organization(), inviter.clone(), now))
        .collect();
    store::invitation::insert(tx, scope, &invitations);
    Ok(invitations.iter().map(api::Invitation::from).collect())
}

async fn require_neither_member_nor_invited(
    tx: &Tx,
    scope: &Scope<OrganizationRef>,
    emails: &[Email],
    now: Micros,
) -> Result<()> {
    let users = store::user::read_by_email(tx, &scope.organization().workspace, emails).await?;
    let users: Vec<Uid> = users.iter().map(|user| user.uid).collect();
    let members = store::member::read_all(tx, scope, &users).await?;
    if let Some(member) = members.iter().find(|member| member.present()) {
        return Err(already_member(member));
    }
    match store::invitation::find_pending(tx, scope, emails, now).await?.first() {
        Some(pending) => Err(pending.already_pending()),
        None => Ok(()),
    }
}

fn already_member(member: &Member) -> Error {
    let name = member.name();
    let message = format!("{name:?} has the email: there is nobody to invite");
    Error::new(ErrorReason::ResourceExists, message).about("Member", name)
}

/// Gets an invitation.
pub async fn get(app: &App, scope: Scope<OrganizationRef>, name: &str) -> Result<Answer<api::Invitation>> {
    let uid = id(&scope, name)?;
    let found = store::invitation::get(&app.reader, &scope, uid).await?;
    Ok(found.map(|invitation| invitation.seen(Micros::now())))
}

/// Lists the invitations of the organization.
pub async fn list(
    app: &App,
    scope: Scope<OrganizationRef>,
    request: api::ListInvitationsRequest,
) -> Result<Answer<api::ListInvitationsResponse>> {
    let page = PageRequest::read(&request, scope.organization().uid)?;
    let terms = filter::parse(&request.filter)?;
    let terms = terms.iter().map(read_term).collect::<Result<Vec<_>>>()?;
    // One clock for what is looked for and what is shown.
    let now = Micros::now();
    let rows = store::invitation::list(&app.reader, &scope, &terms, now, page.after_uid()?, page.size + 1).await?;
    Ok(rows.map(|rows| {
        let key = |last: &Invitation| last.uid.0.as_bytes().to_vec();
        let (invitations, next_page_token) = page.fill(rows, |row| row.seen(now), key);
        api::ListInvitationsResponse {
            invitations,
            next_page_token,
        }
    }))
}

fn read_term(term: &filter::Term) -> Result<Term> {
    match (term.field.as_str(), term.operator) {
        ("state", Operator::Equal) => match State::from_str_name(&format!("STATE_{}", term.value)) {
            Some(state) if state != State::Unspecified => Ok(Term::State(state)),
            _ => Err(filter::malformed(
                "state must be PENDING, ACCEPTED, DECLINED, REVOKED or EXPIRED",
            )),
        },
        ("email", Operator::Equal) => Ok(Term::Email(term.value.clone())),
        _ => Err(filter::unknown(term)),
    }
}

/// Takes an invitation back.
pub async fn revoke(
    app: &App,
    scope: Scope<OrganizationRef>,
    request: api::RevokeInvitationRequest,
) -> Result<Answer<api::Invitation>> {
    let author = scope.author();
    let unit = async move |tx: &Tx| {
        let before = lock(tx, &scope, &request.name, &request.etag).await?;
        let after = before.revoke(Micros::now())?;
        let (answer, change) = write(tx, &scope, &before, &after);
        Ok(Recorded::change(answer, change))
    };
    app.journal.write(author, unit).await
}

/// Issues another token. The answer has none yet, so that the journal, which remembers the answer, has none either.
pub async fn issue_token(
    app: &App,
    scope: Scope<OrganizationRef>,
    request: api::IssueInvitationTokenRequest,
) -> Result<Answer<api::IssueInvitationTokenResponse>> {
    let key = app.secret_key.clone();
    let author = scope.author();
    let unit = async move |tx: &Tx| {
        let before = lock(tx, &scope, &request.name, &request.etag).await?;
        let after = before.issue_token(&key, Micros::now())?;
        let (invitation, change) = write(tx, &scope, &before, &after);
        let answer = api::IssueInvitationTokenResponse {
            invitation: Some(invitation),
            token: String::new(),
        };
        Ok(Recorded::change(answer, change))
    };
    app.journal.write(author, unit).await
}

/// Puts the token that was issued into the answer, now or when it is given again. A preview has no uid, and issued none.
pub fn disclose_token(app: &App, answer: &mut api::IssueInvitationTokenResponse) {
    let invitation = answer.invitation.as_ref();
    let issued = invitation.and_then(|invitation| Some((Uid::parse(&invitation.uid)?, invitation.sent_count)));
    if let Some((uid, generation)) = issued {
        answer.token = app.secret_key.token(uid, generation);
    }
}

/// The organization locked, and its invitation read.
async fn lock(tx: &Tx, scope: &Scope<OrganizationRef>, name: &str, etag: &str) -> Result<Invitation> {
    let uid = id(scope, name)?;
    store::organization::lock(tx, scope).await?;
    let found = store::invitation::find(tx, scope, uid).await?;
    let invitation = found.ok_or_else(|| store::invitation::not_found(scope.organization(), last_id(name)))?;
    invitation.check_etag(etag)?;
    Ok(invitation)
}

fn write(
    tx: &Tx,
    scope: &Scope<OrganizationRef>,
    before: &Invitation,
    after: &Invitation,
) -> (api::Invitation, Change) {
    store::invitation::update(tx, scope, after);
    let message = api::Invitation::from(after);
    let change = Change::updated(&before.into(), &message, before.changed_fields(after));
    (message, change)
}

/// Makes the invited person a member.
pub async fn accept(
    app: &App,
    scope: Scope<OrganizationRef>,
    request: api::AcceptInvitationRequest,
) -> Result<Answer<api::Invitation>> {
    let password = hash_password(app, &scope, &request).await?;
    match accept_once(app, scope.clone(), request.clone(), password.clone()).await {
        // Another organization's call made a user of the person at the same moment: there is one to take now.
        Err(refusal) if refusal.reason() == ErrorReason::EmailTaken => accept_once(app, scope, request, password).await,
        done => done,
    }
}

/// What is to be kept of the password that is set, if one is. That takes too long for a unit; but nothing is hashed, and nothing told,
/// for who has no token.
async fn hash_password(
    app: &App,
    scope: &Scope<OrganizationRef>,
    request: &api::AcceptInvitationRequest,
) -> Result<Option<PasswordHash>> {
    if request.password.is_empty() {
        return Ok(None);
    }
    let unproven = || Error::not_found("Resource", request.name.as_str());
    let uid = Uid::parse(last_id(&request.name)).ok_or_else(unproven)?;
    let found = store::invitation::get(&app.reader, scope, uid).await;
    let found = found.map_err(|error| {
        if error.is_about(&["Invitation"]) {
            unproven()
        } else {
            error
        }
    })?;
    let proven = Some(found.value).filter(|invitation| invitation.is_proven_by(&request.token));
    let invitation = proven.ok_or_else(unproven)?;
    invitation.require_pending(Micros::now())?;
    let password = password::parse(&request.password)?;
    let hash = app.passwords.hash(password, &invitation.email, &request.display_name);
    Ok(Some(hash.await?))
}

async fn accept_once(
    app: &App,
    scope: Scope<OrganizationRef>,
    request: api::AcceptInvitationRequest,
    password: Option<PasswordHash>,
) -> Result<Answer<api::Invitation>> {
    let author = scope.author();
    let unit = async move |tx: &Tx| {
        let (organization, before) = open(tx, &scope, &request.name, &request.token).await?;
        let now = Micros::now();
        before.require_pending(now)?;
        organization.require_active()?;
        require_inviter(tx, &scope, &before).await?;
        let (who, mut changes) = who(tx, &scope, &before.email, &request.display_name, password).await?;
        let new = NewMember {
            who,
            grants: before.grants.clone(),
            notification: Notification::default(),
        };
        let not_yet_user = matches!(new.who, Who::New(_));
        let added = member::add(tx, &scope, &organization, vec![new]).await?;
        let user = added.users.first().copied();
        let user = user.ok_or_else(|| Error::internal("nobody was added"))?;
        let after = before.accept(user, now)?;
        let (mut answer, change) = write(tx, &scope, &before, &after);
        if scope.validate_only() && not_yet_user {
            // Who is not yet a user has no id yet.
            answer.member.clear();
        }
        changes.extend(added.changes);
        changes.extend(team::join(tx, &scope, &before.team_keys, user, now).await?);
        changes.push(change);
        Ok(Recorded {
            changes,
            ..Recorded::nothing(answer)
        })
    };
    app.journal.write(author, unit).await
}

/// Turns an invitation down.
pub async fn decline(
    app: &App,
    scope: Scope<OrganizationRef>,
    request: api::DeclineInvitationRequest,
) -> Result<Answer<api::Invitation>> {
    let author = scope.author();
    let unit = async move |tx: &Tx| {
        let (_, before) = open(tx, &scope, &request.name, &request.token).await?;
        let after = before.decline(Micros::now())?;
        let (answer, change) = write(tx, &scope, &before, &after);
        Ok(Recorded::change(answer, change))
    };
    app.journal.write(author, unit).await
}

/// The organization locked, and its invitation read, for somebody who has the token. Who has not can't lock anything, and learns
/// nothing of the organization.
async fn open(tx: &Tx, scope: &Scope<OrganizationRef>, name: &str, token: &str) -> Result<(Organization, Invitation)> {
    prove(tx, scope, name, token).await?;
    let (organization, _) = store::organization::lock(tx, scope).await?;
    // Once more, as nobody else can change it any longer: another token may have been issued meanwhile.
    let invitation = prove(tx, scope, name, token).await?;
    Ok((organization, invitation))
}

/// A wrong token is answered to the letter like an invitation, or an organization, that does not exist.
async fn prove(tx: &Tx, scope: &Scope<OrganizationRef>, name: &str, token: &str) -> Result<Invitation> {
    let found = match Uid::parse(last_id(name)) {
        Some(uid) => store::invitation::find(tx, scope, uid).await?,
        None => None,
    };
    found
        .filter(|invitation| invitation.is_proven_by(token))
        .ok_or_else(|| Error::not_found("Resource", name))
}

/// Refuses the invitation of a client user who could not invite so now.
async fn require_inviter(tx: &Tx, scope: &Scope<OrganizationRef>, invitation: &Invitation) -> Result<()> {
    let Some(inviter) = invitation.inviter.user else {
        return Ok(());
    };
    let custom = store::role::of_grants(tx, scope, [&invitation.grants]).await?;
    let given = invitation.grants.effective(&custom);
    let who = SignedIn {
        organization: scope.organization().uid,
        user: inviter,
        session: None,
    };
    let standing = store::standing::read(tx, who).await?;
    let still = standing.is_some_and(|standing| {
        let held = &standing.permissions;
        standing.require_access().is_ok() && held.holds(INVITE) && held.lacks(&given).is_none()
    });
    if still {
        Ok(())
    } else {
        Err(invitation.inviter_lost_right())
    }
}

/// The user of the workspace who has the email, or a new one; and what the password that is set changes of it. What else the request
/// says is only looked at now: a refusal would tell those who have no token that there is such an organization.
async fn who(
    tx: &Tx,
    scope: &Scope<OrganizationRef>,
    email: &Email,
    display_name: &str,
    password: Option<PasswordHash>,
) -> Result<(Who, Vec<Change>)> {
    let display_name = user::display_name(display_name);
    let display_name = display_name.map_err(|Invalid(rule)| Error::field("display_name", rule))?;
    let workspace = &scope.organization().workspace;
    let users = store::user::read_by_email(tx, workspace, slice::from_ref(email)).await?;
    let Some(user) = users.first() else {
        let new = NewUser::invited(email.clone(), display_name, password);
        return Ok((Who::New(new), Vec::new()));
    };
    user.require_enabled()?;
    // The token proves that somebody reads the person's mail. To whom a password was given must know that.
    if user.password.is_some() {
        require_itself(tx, scope, user).await?;
    }
    let changes = match password {
        Some(_) if user.password.is_some() => {
            return Err(Error::field("password", "must be empty, since you have one already"));
        }
        Some(password) => password::write(tx, scope, user, password).await?.1,
        None => Vec::new(),
    };
    Ok((Who::User(user.uid), changes))
}

/// Refuses whoever does not call as this user, in a session that goes on.
async fn require_itself(tx: &Tx, scope: &Scope<OrganizationRef>, user: &User) -> Result<()> {
    let signed_in = scope.signed_in_user().filter(|signed_in| signed_in.user == user.uid);
    let signed_in = signed_in.ok_or_else(|| user.sign_in_required())?;
    match signed_in.session {
        Some(session) if !store::session::is_open(tx, session, user.uid).await? => Err(session_ended()),
        _ => Ok(()),
    }
}

/// The invitation in a name, or in one that can't be.
fn id(scope: &Scope<OrganizationRef>, name: &str) -> Result<Uid> {
    let id = last_id(name);
    Uid::parse(id).ok_or_else(|| store::invitation::not_found(scope.organization(), id))
}
