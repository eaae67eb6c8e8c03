//! Taking away for good what an organization or a user was, step by step. Each step is a unit of its own, which may run any number of
//! times, by any number of callers and replicas: it reads how far the erasure has come and notes how far it has brought it.

use super::team;
use crate::domain::erasure::{Step, is_of_organization, traces_of_answer, traces_of_change};
use crate::domain::organization::Organization;
use crate::store;
use crate::store::erasure::Erasure;
use crate::store::organization::Doomed;
use clientele_api::error::ErrorReason;
use clientele_api::journal::Change;
use clientele_api::name::OrganizationRef;
use clientele_api::request::Request as _;
use clientele_api::{Micros, Result, Uid, org as api};
use clientele_store::cursor::Cursor;
use clientele_store::jobs::{Job, JobScope};
use clientele_store::journal::{Filter, Row, scrub};
use clientele_store::tx::Tx;
use clientele_store::{Author, Journal, Recorded};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// How long a call goes on with an erasure that it began; what is left then is the job's.
const PATIENCE: Duration = Duration::from_secs(20);
/// How often the job looks for what is due, or was left unfinished.
const EVERY: Duration = Duration::from_secs(60);
/// How many members, or invitations, go in one unit.
const CHUNK: u64 = 100;
/// How many organizations a user leaves in one unit.
const ORGANIZATIONS: u64 = 20;
/// How many teams. The journal tells of each what it was and what it is, with all its members.
const TEAMS: u64 = 50;
/// How many rows of the journal are looked at in one unit.
const ENTRIES: u64 = 100;

/// What changed in organizations that the call does not name.
type Elsewhere = Vec<(OrganizationRef, Vec<Change>)>;

/// The job that purges the organizations that are due, and ends what was begun.
pub fn job(journal: Journal) -> Job {
    Job::new("purge", EVERY, move |scope| {
        let journal = journal.clone();
        async move { work(&scope, &journal).await }
    })
}

/// One that fails does not keep the others from going on; the job has failed then all the same.
async fn work(scope: &JobScope, journal: &Journal) -> Result<()> {
    let mut failed = None;
    for erasure in store::erasure::unfinished(scope, journal.db(), CHUNK).await? {
        let author = author(scope, &erasure);
        failed = finish(journal, &erasure, &author).await.err().or(failed);
    }
    for doomed in store::organization::due(scope, journal.db(), Micros::now(), CHUNK).await? {
        failed = purge_due(scope, journal, doomed).await.err().or(failed);
    }
    failed.map_or(Ok(()), Err)
}

fn author(scope: &JobScope, erasure: &Erasure) -> Author {
    let method = match erasure.organization {
        Some(_) => api::PurgeOrganizationRequest::METHOD,
        None => api::DeleteUserRequest::METHOD,
    };
    scope.author(method.path, erasure.workspace.clone())
}

async fn purge_due(scope: &JobScope, journal: &Journal, doomed: Doomed) -> Result<()> {
    let now = Micros::now();
    let erasure = Erasure::of_organization(&doomed, now);
    let author = author(scope, &erasure);
    let begun = erasure.clone();
    let of_organization = Author {
        organization: Some(doomed.organization().clone()),
        ..author.clone()
    };
    let unit = async move |tx: &Tx| {
        let organization = store::organization::lock_doomed(tx, &doomed).await?;
        if !organization.is_due(now) {
            return Ok(Recorded::nothing(false));
        }
        let change = begin_purge(tx, &doomed, &begun, &organization, now)?;
        Ok(Recorded::change(true, change))
    };
    match journal.write(of_organization, unit).await {
        Ok(begun) if begun.value => finish(journal, &erasure, &author).await,
        Ok(_undeleted) => Ok(()),
        Err(error) if error.reason() == ErrorReason::ResourceNotFound => Ok(()), // a call was faster
        Err(error) => Err(error),
    }
}

/// The point of no return, in a unit that has locked the organization: it is out of use for good, and its name is free.
pub fn begin_purge(
    tx: &Tx,
    doomed: &Doomed,
    erasure: &Erasure,
    organization: &Organization,
    now: Micros,
) -> Result<Change> {
    let remains = organization.purge(now)?;
    store::organization::purge(tx, doomed, &remains);
    store::erasure::begin(tx, erasure);
    Ok(Change::purged(&api::Organization::from(organization), remains.version))
}

/// Goes on with an erasure for as long as a call may take. The call is answered however far that comes.
pub async fn go_on(journal: &Journal, erasure: &Erasure, author: Author) {
    let author = Author {
        organization: None,
        request: None, // the unit that began it has it
        ..author
    };
    match tokio::time::timeout(PATIENCE, finish(journal, erasure, &author)).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => {
            tracing::warn!(%error, cause = error.cause(), "an erasure did not go on; the job goes on with it");
        }
        Err(_) => tracing::info!("an erasure takes longer than its call; the job goes on with it"),
    }
}

/// Brings an erasure to its end.
async fn finish(journal: &Journal, erasure: &Erasure, author: &Author) -> Result<()> {
    while !take_step(journal, erasure.clone(), author.clone()).await? {}
    Ok(())
}

/// Does as much of an erasure as one unit may; answers whether that was the end.
async fn take_step(journal: &Journal, erasure: Erasure, author: Author) -> Result<bool> {
    let unit = async move |tx: &Tx| {
        let Some(erasure) = store::erasure::lock(tx, &erasure).await? else {
            return Ok(Recorded::nothing(true));
        };
        let mut recorded = Recorded::nothing(false);
        let stays = match (erasure.step, erasure.organization) {
            (Step::Teams, Some(uid)) => stay_if(store::team::erase(tx, &erasure, uid).await?),
            (Step::Invitations, Some(uid)) => stay_if(store::invitation::erase(tx, &erasure, uid).await?),
            (Step::Roles, Some(uid)) => stay_if(store::role::erase(tx, &erasure, uid).await?),
            (Step::Members, Some(uid)) => {
                let (changes, more) = erase_members(tx, &erasure, uid).await?;
                recorded.changes = changes;
                stay_if(more)
            }
            (Step::Journal, Some(uid)) => scrub_organization(tx, &erasure, uid).await?,
            (Step::Memberships, _) => {
                let left = leave_next(tx, &erasure).await?;
                let more = left.is_some();
                recorded.elsewhere = left.unwrap_or_default();
                stay_if(more)
            }
            (Step::UserInvitations, _) => {
                let gone = erase_invitations(tx, &erasure).await?;
                let more = gone.is_some();
                recorded.elsewhere = gone.unwrap_or_default();
                stay_if(more)
            }
            (Step::UserJournal, _) => scrub_users(tx, &erasure).await?,
            (Step::Users, _) => stay_if(erase_users(tx, &erasure).await?),
            (Step::Organization, Some(uid)) => {
                store::organization::erase(tx, &erasure, uid).await?;
                None
            }
            _ => None,
        };
        match (stays, erasure.step.next()) {
            (Some(scanned), _) => store::erasure::move_on(tx, &erasure, erasure.step, scanned),
            (None, Some(next)) => store::erasure::move_on(tx, &erasure, next, scrub::BEGINNING),
            (None, None) => {
                store::erasure::end(tx, &erasure).await?;
                recorded.answer = true;
            }
        }
        Ok(recorded)
    };
    Ok(journal.write(author, unit).await?.value)
}

/// Where a step stands that does not look through the journal, if there is more of it.
fn stay_if(more: bool) -> Option<Cursor> {
    more.then_some(scrub::BEGINNING)
}

/// Some members of a purged organization go, and with them those of their users who are present nowhere else. Answers what changed, and
/// whether there are more.
async fn erase_members(tx: &Tx, erasure: &Erasure, organization: Uid) -> Result<(Vec<Change>, bool)> {
    let members = store::member::of_purged(tx, erasure, organization, CHUNK).await?;
    let (members, users): (Vec<Uid>, Vec<Uid>) = members.into_iter().unzip();
    // Who makes a user a member keeps the user from being locked: what is read after this stays so.
    let mut leaving = store::user::lock_all(tx, erasure, &users).await?;
    let staying = store::member::present_elsewhere(tx, erasure, &users).await?;
    leaving.retain(|user| !staying.contains(&user.uid));
    store::member::erase(tx, erasure, &members);
    store::erasure::add(tx, erasure, &leaving);
    store::user::withdraw(tx, erasure, &leaving, Micros::now());
    let changes = leaving
        .iter()
        .map(|user| Change::purged(&api::User::from(user), user.version + 1));
    Ok((changes.collect(), members.len() as u64 == CHUNK))
}

/// Takes a user of the erasure out of organizations that it is still a member of, removed or not. None: there is no such user any more.
async fn leave_next(tx: &Tx, erasure: &Erasure) -> Result<Option<Elsewhere>> {
    let Some(user) = store::member::next_erased(tx, erasure).await? else {
        return Ok(None);
    };
    let places = Places::lock(tx, erasure, user).await?;
    places.leave(tx, erasure).await.map(Some)
}

/// Organizations that a user is a member of, or was, which no other unit changes until this one has ended.
pub struct Places {
    user: Uid,
    organizations: BTreeSet<Uid>,
    /// Those that are not being purged.
    locked: Vec<Uid>,
}

impl Places {
    /// As many as one unit may leave. They are locked before users are, as everywhere.
    pub async fn lock(tx: &Tx, erasure: &Erasure, user: Uid) -> Result<Self> {
        let organizations = store::member::organizations_of(tx, erasure, user, ORGANIZATIONS).await?;
        let locked = store::organization::lock_for_erasure(tx, erasure, &organizations).await?;
        Ok(Self {
            user,
            organizations,
            locked,
        })
    }

    /// Leaves them: the teams first, then the organizations, whether the user was their last org admin or not. Who is member of more
    /// leaves those later, and who is in more teams than one unit leaves stays a member meanwhile.
    pub async fn leave(self, tx: &Tx, erasure: &Erasure) -> Result<Elsewhere> {
        let left = team::leave_erased(tx, erasure, self.user, &self.locked, TEAMS, Micros::now()).await?;
        if left.len() as u64 == TEAMS {
            return Ok(by_organization(left.into_iter()));
        }
        let members = store::member::of_user(tx, erasure, self.user, &self.organizations).await?;
        let uids: Vec<Uid> = members.iter().map(|member| member.uid).collect();
        store::member::erase(tx, erasure, &uids);
        let gone = members.iter().map(|member| {
            let change = Change::purged(&api::Member::from(member), member.version + 1);
            (member.organization.clone(), change)
        });
        Ok(by_organization(gone.chain(left)))
    }
}

fn by_organization(changes: impl Iterator<Item = (OrganizationRef, Change)>) -> Elsewhere {
    let mut elsewhere = BTreeMap::<Uid, (OrganizationRef, Vec<Change>)>::new();
    for (organization, change) in changes {
        let (_, changes) = elsewhere.entry(organization.uid).or_insert((organization, Vec::new()));
        changes.push(change);
    }
    elsewhere.into_values().collect()
}

/// Some invitations for the users of the erasure go, or that they accepted. None: there are no such invitations any more.
async fn erase_invitations(tx: &Tx, erasure: &Erasure) -> Result<Option<Elsewhere>> {
    let found = store::invitation::of_erased(tx, erasure, CHUNK).await?;
    if found.is_empty() {
        return Ok(None);
    }
    let organizations = found.iter().map(|one| one.organization.uid).collect();
    store::organization::lock_for_erasure(tx, erasure, &organizations).await?;
    let invitations = store::invitation::read_for_erasure(tx, erasure, &found).await?;
    store::invitation::delete_for_erasure(tx, erasure, &invitations);
    store::erasure::add_invitations(tx, erasure, &invitations);
    let gone = invitations.iter().map(|invitation| {
        let change = Change::purged(&api::Invitation::from(invitation), invitation.version + 1);
        (invitation.organization.clone(), change)
    });
    Ok(Some(by_organization(gone)))
}

/// Some users of the erasure go, to whom nothing refers any more, and before that their sessions, of which there may be any number;
/// answers whether there are more.
async fn erase_users(tx: &Tx, erasure: &Erasure) -> Result<bool> {
    if store::session::erase(tx, erasure).await? > 0 {
        return Ok(true);
    }
    let users = store::erasure::users(tx, erasure, store::erasure::MOST_ROWS / 2).await?;
    store::user::erase(tx, erasure, &users).await?;
    store::erasure::forget(tx, erasure, &users).await?;
    Ok(users.len() as u64 == store::erasure::MOST_ROWS / 2)
}

/// Takes out of some rows of a purged organization's journal what its resources were; answers where it goes on. What they tell of users
/// goes later, and only if these are erased.
async fn scrub_organization(tx: &Tx, erasure: &Erasure, organization: Uid) -> Result<Option<Cursor>> {
    let rows = scrub::rows(tx, Filter::Organization(organization), erasure.scanned, ENTRIES).await?;
    for row in scrub::lock(tx, rows.iter().map(Row::cursor)).await? {
        let mut changes = row.changes()?;
        if !scrub::is_bare(&changes) {
            let of_organization = changes.iter_mut().filter(|change| is_of_organization(change));
            of_organization.for_each(Change::scrub);
            scrub::rewrite(tx, &row, changes);
        }
    }
    Ok(rows
        .last()
        .filter(|_| rows.len() as u64 == ENTRIES)
        .map(|last| last.cursor()))
}

/// Takes out of some rows of the workspace's journal what the users of the erasure were; answers where it goes on.
async fn scrub_users(tx: &Tx, erasure: &Erasure) -> Result<Option<Cursor>> {
    if store::erasure::users(tx, erasure, 1).await?.is_empty() {
        return Ok(None);
    }
    let rows = scrub::rows(tx, Filter::Workspace(erasure.workspace.uid), erasure.scanned, ENTRIES).await?;
    let mut told = Vec::new();
    for row in &rows {
        let changes = row.changes()?;
        if !scrub::is_bare(&changes) {
            let answer = row.answer.as_deref().map(traces_of_answer).unwrap_or_default();
            told.push((
                row,
                [changes.iter().flat_map(traces_of_change).collect(), answer].concat(),
            ));
        }
    }
    let all = told.iter().flat_map(|(_, traces)| traces).copied().collect();
    let gone = store::erasure::users_among(tx, erasure, &all).await?;
    let is_about = |traces: &Vec<Uid>| traces.iter().any(|uid| gone.contains(uid));
    let concerned = told.iter().filter(|(_, traces)| is_about(traces));
    for row in scrub::lock(tx, concerned.map(|(row, _)| row.cursor())).await? {
        let mut changes = row.changes()?;
        let about = changes.iter_mut().filter(|change| is_about(&traces_of_change(change)));
        about.for_each(Change::scrub);
        scrub::rewrite(tx, &row, changes);
    }
    Ok(rows
        .last()
        .filter(|_| rows.len() as u64 == ENTRIES)
        .map(|last| last.cursor()))
}
