//! Teams: named groups of an organization's members.

use super::grants::each_once;
use super::id::{Form, IdChoice};
use clientele_api::error::{ErrorReason, Invalid};
use clientele_api::mask::Mask;
use clientele_api::name::OrganizationRef;
use clientele_api::{Error, Micros, Result, Uid, Violations, org as api, parse};
use std::collections::BTreeSet;

/// How many members at most.
const MOST_MEMBERS: usize = 500;
/// How many members are added or taken out at a time.
const MOST_AT_A_TIME: usize = 100;
/// How many aliases at most.
const MOST_ALIASES: usize = 20;
/// What derived keys look like.
const KEY: Form = Form {
    prefix: "team_",
    separator: '_',
    shortest: 1,
};

/// A named group of an organization's members.
#[derive(Debug, Clone, PartialEq)]
pub struct Team {
    /// Its identity.
    pub uid: Uid,
    /// The organization.
    pub organization: OrganizationRef,
    /// Counts its changes, from 1.
    pub version: i64,
    /// When it was created.
    pub create_time: Micros,
    /// When it changed last.
    pub update_time: Micros,
    /// Its id in names.
    pub key: String,
    /// The keys that it had before, oldest first: they still name it.
    pub aliases: Vec<String>,
    /// The name that people see.
    pub label: String,
    /// What it is for.
    pub description: String,
    /// The users who are in it.
    pub members: BTreeSet<Uid>,
}

/// A team that is asked for.
#[derive(Debug, Clone, PartialEq)]
pub struct NewTeam {
    /// Its id in names.
    pub key: IdChoice,
    label: String,
    description: String,
    members: BTreeSet<Uid>,
}

impl NewTeam {
    /// Reads the request.
    pub fn parse(request: &api::CreateTeamRequest) -> Result<Self> {
        let empty = api::Team::default();
        let message = request.team.as_ref().unwrap_or(&empty);
        let mut violations = Violations::new();
        let label = read_label(message, &mut violations);
        let key = if request.team_id.is_empty() {
            KEY.derive(&label)
        } else {
            let key = violations.check("team_id", parse_key(&request.team_id));
            IdChoice::Given(key.unwrap_or_default())
        };
        let new = Self {
            key,
            label,
            description: read_description(message, &mut violations),
            members: read_members(message, &mut violations),
        };
        violations.finish(Some(new))
    }

    /// The team that comes of it, under this key.
    pub fn into_team(self, organization: &OrganizationRef, key: String, now: Micros) -> Team {
        Team {
            uid: Uid::new(),
            organization: organization.clone(),
            version: 1,
            create_time: now,
            update_time: now,
            key,
            aliases: Vec::new(),
            label: self.label,
            description: self.description,
            members: self.members,
        }
    }
}

impl Team {
    /// `workspaces/{workspace}/organizations/{organization}/teams/{team}`.
    pub fn name(&self) -> String {
        team_name(&self.organization, &self.key)
    }

    /// Refuses an etag that is not the present one; an empty one is not checked.
    pub fn check_etag(&self, etag: &str) -> Result<()> {
        self.uid.check_etag(self.version, etag, &self.name())
    }

    /// With the leaves of the mask changed to the message's; equal to this one if nothing differs.
    pub fn update(&self, message: &api::Team, mask: &Mask, now: Micros) -> Result<Team> {
        let mut violations = Violations::new();
        let mut team = self.clone();
        if mask.has("label") {
            team.label = read_label(message, &mut violations);
        }
        if mask.has("description") {
            team.description = read_description(message, &mut violations);
        }
        if mask.has("members") {
            team.members = read_members(message, &mut violations);
        }
        if mask.has("key") {
            let key = violations.check("team.key", parse_key(message.key()));
            team.rename(key.unwrap_or_default());
        }
        let team = violations.finish(Some(team))?;
        if team.aliases.len() > MOST_ALIASES {
            return Err(self.refuse_more("aliases", MOST_ALIASES, self.aliases.len()));
        }
        Ok(self.next(team, now))
    }

    /// The old key becomes an alias; an alias that becomes the key is none any more.
    fn rename(&mut self, key: String) {
        if key != self.key {
            self.aliases.retain(|alias| *alias != key);
            self.aliases.push(std::mem::replace(&mut self.key, key));
        }
    }

    /// Whether it is found by this key.
    pub fn answers_to(&self, key: &str) -> bool {
        self.key == key || self.aliases.iter().any(|alias| alias == key)
    }

    /// Whether nobody fits into it any more.
    pub fn is_full(&self) -> bool {
        self.members.len() >= MOST_MEMBERS
    }

    /// With these users in it; equal to this one if they are in it already.
    pub fn with(&self, users: &BTreeSet<Uid>, now: Micros) -> Result<Team> {
        let mut team = self.clone();
        team.members.extend(users);
        if team.members.len() > MOST_MEMBERS {
            return Err(self.refuse_more("members", MOST_MEMBERS, self.members.len()));
        }
        Ok(self.next(team, now))
    }

    /// Without these users; equal to this one if they are not in it.
    #[must_use]
    pub fn without(&self, users: &BTreeSet<Uid>, now: Micros) -> Team {
        let mut team = self.clone();
        team.members.retain(|user| !users.contains(user));
        self.next(team, now)
    }

    /// The users who are in the other team and not in this one.
    pub fn joined(&self, after: &Team) -> Vec<Uid> {
        after.members.difference(&self.members).copied().collect()
    }

    /// The paths of the leaves that differ afterwards.
    pub fn changed_fields(&self, after: &Team) -> Vec<String> {
        [
            ("key", self.key != after.key),
            ("aliases", self.aliases != after.aliases),
            ("label", self.label != after.label),
            ("description", self.description != after.description),
            ("members", self.members != after.members),
        ]
        .into_iter()
        .filter(|(_, differs)| *differs)
        .map(|(path, _)| path.to_owned())
        .collect()
    }

    /// The refusal where nobody can be picked.
    pub fn no_one_online(&self) -> Error {
        let name = self.name();
        let message = format!("nobody of {name:?} is online: try again when somebody is");
        Error::new(ErrorReason::NoOneOnline, message).about("Team", name)
    }

    /// The changed team as the next version, unless nothing differs.
    fn next(&self, changed: Team, now: Micros) -> Team {
        if changed == *self {
            return changed;
        }
        Team {
            version: self.version + 1,
            update_time: now,
            ..changed
        }
    }

    fn refuse_more(&self, things: &str, limit: usize, used: usize) -> Error {
        let name = self.name();
        let message = format!("{name:?} has {used} {things}, and no team has more than {limit}");
        Error::new(ErrorReason::LimitReached, message)
            .with("limit", limit)
            .with("used", used)
            .about("Team", name)
    }
}

/// `workspaces/{workspace}/organizations/{organization}/teams/{team}`.
pub fn team_name(organization: &OrganizationRef, key: &str) -> String {
    format!("{}/teams/{key}", organization.name())
}

/// Reads the key of a team.
pub fn parse_key(text: &str) -> Result<String, Invalid> {
    let bytes = text.as_bytes();
    let inner = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || *byte == b'_';
    let begins = bytes.first().is_some_and(u8::is_ascii_lowercase);
    if begins && bytes.len() <= 63 && bytes.iter().all(inner) {
        return Ok(text.to_owned());
    }
    Err(Invalid::new(
        "must be 1 to 63 lower-case letters, digits and underscores, and begin with a letter",
    ))
}

/// Reads the users of a request that adds or takes out members.
pub fn parse_users(texts: &[String]) -> Result<BTreeSet<Uid>> {
    let parsed = match texts {
        [] => Err(Invalid::new(format!("must be 1 to {MOST_AT_A_TIME}"))),
        texts => users(texts, MOST_AT_A_TIME),
    };
    let mut violations = Violations::new();
    let parsed = violations.check("members", parsed);
    violations.finish(parsed)
}

fn users(texts: &[String], most: usize) -> Result<BTreeSet<Uid>, Invalid> {
    let users = each_once(texts, most, |text| parse::uuid(text).map(Uid))?;
    Ok(users.into_iter().collect())
}

// What stands for a value that broke its rule never gets out: the violation refuses the request.

fn read_label(message: &api::Team, violations: &mut Violations) -> String {
    let parsed = parse::line(message.label(), 1..=100);
    violations.check("team.label", parsed).unwrap_or_default()
}

fn read_description(message: &api::Team, violations: &mut Violations) -> String {
    let parsed = parse::paragraphs(message.description(), 1000);
    violations.check("team.description", parsed).unwrap_or_default()
}

fn read_members(message: &api::Team, violations: &mut Violations) -> BTreeSet<Uid> {
    let parsed = users(&message.members, MOST_MEMBERS);
    violations.check("team.members", parsed).unwrap_or_default()
}

impl From<&Team> for api::Team {
    fn from(team: &Team) -> Self {
        Self {
            name: team.name(),
            uid: team.uid.to_string(),
            version: team.version,
            etag: team.uid.etag(team.version),
            create_time: Some(team.create_time.into()),
            update_time: Some(team.update_time.into()),
            key: Some(team.key.clone()),
            aliases: team.aliases.clone(),
            label: Some(team.label.clone()),
            description: Some(team.description.clone()),
            members: team.members.iter().map(ToString::to_string).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clientele_api::name::WorkspaceRef;
    use clientele_api::request::{Behavior, Update};
    use prost_types::FieldMask;

    const NOW: Micros = Micros(1);
    const LATER: Micros = Micros(2);

    fn create(team_id: &str, team: api::Team) -> Result<NewTeam> {
        NewTeam::parse(&api::CreateTeamRequest {
            team_id: team_id.to_owned(),
            team: Some(team),
            ..Default::default()
        })
    }

    fn labelled(label: &str) -> api::Team {
        api::Team {
            label: Some(label.to_owned()),
            ..Default::default()
        }
    }

    fn sales() -> Team {
        let workspace = WorkspaceRef {
            uid: Uid::new(),
            id: "acme".to_owned(),
        };
        let bakery = OrganizationRef {
            workspace,
            uid: Uid::new(),
            id: "bakery".to_owned(),
        };
        let new = create("sales", labelled("Sales")).unwrap();
        new.into_team(&bakery, "sales".to_owned(), NOW)
    }

    fn update(before: &Team, message: &api::Team, paths: Option<&[&str]>) -> Result<Team> {
        let request = api::UpdateTeamRequest {
            team: Some(message.clone()),
            update_mask: paths.map(|paths| FieldMask {
                paths: paths.iter().map(|path| (*path).to_owned()).collect(),
            }),
            ..Default::default()
        };
        let mut violations = Violations::new();
        let mask = Mask::read(&request, &mut violations);
        violations.finish(Some(()))?;
        before.update(message, &mask, LATER)
    }

    fn renamed(before: &Team, key: &str) -> Result<Team> {
        let message = api::Team {
            key: Some(key.to_owned()),
            ..Default::default()
        };
        update(before, &message, None)
    }

    fn people(count: usize) -> BTreeSet<Uid> {
        (0..count).map(|_| Uid::new()).collect()
    }

    fn violated(result: Result<impl std::fmt::Debug>) -> Vec<String> {
        let error = result.unwrap_err();
        assert_eq!(error.reason(), ErrorReason::InvalidFields);
        error.violations().iter().map(|one| one.field.clone()).collect()
    }

    #[test]
    fn every_violation_is_answered() {
        let team = api::Team {
            label: Some(" ".to_owned()),
            description: Some("\0".to_owned()),
            members: vec!["ann".to_owned()],
            ..Default::default()
        };
        let fields = ["team.label", "team_id", "team.description", "team.members"];
        assert_eq!(violated(create("Sales", team.clone())), fields);
        let fields = ["team.label", "team.description", "team.members", "team.key"];
        assert_eq!(violated(update(&sales(), &team, Some(&["*"]))), fields);
        let twice = api::Team {
            members: vec![Uid::NIL.to_string(), Uid::NIL.to_string()],
            ..labelled("Sales")
        };
        assert_eq!(violated(create("", twice)), ["team.members"]);
        for (count, good) in [(0, false), (1, true), (100, true), (101, false)] {
            let texts: Vec<String> = people(count).iter().map(ToString::to_string).collect();
            assert_eq!(parse_users(&texts).is_ok(), good, "{count}");
        }
    }

    #[test]
    fn keys_follow_their_pattern_also_derived_and_with_a_suffix() {
        let longest = "a".repeat(63);
        for good in ["a", "a1", "second_level", "a_", &longest] {
            assert!(parse_key(good).is_ok(), "{good}");
        }
        for bad in ["", "1a", "_a", "A", "a-b", "ä", "a b", &"a".repeat(64)] {
            assert!(parse_key(bad).is_err(), "{bad}");
        }
        for label in [&"a".repeat(100), &"9".repeat(100), "東京", "Ärzte & Co", "2", "z", "-"] {
            let key = create("", labelled(label)).unwrap().key;
            for key in [key.id(), &key.with_suffix().unwrap()] {
                assert!(parse_key(key).is_ok(), "{key}");
            }
        }
    }

    #[test]
    fn a_key_that_it_had_stays_its_own() {
        let before = sales();
        let first = renamed(&before, "selling").unwrap();
        assert_eq!(
            (first.key.as_str(), first.aliases.as_slice(), first.version),
            ("selling", ["sales".to_owned()].as_slice(), 2)
        );
        assert_eq!(before.changed_fields(&first), ["key", "aliases"]);
        assert_eq!(renamed(&first, "selling").unwrap(), first);
        let second = renamed(&first, "shop").unwrap();
        assert_eq!(second.aliases, ["sales", "selling"]);
        assert!(["sales", "selling", "shop"].iter().all(|key| second.answers_to(key)));
        let back = renamed(&second, "sales").unwrap();
        assert_eq!((back.key.as_str(), back.aliases.len()), ("sales", 2));
        assert_eq!(back.aliases, ["selling", "shop"]);
        assert!(!before.answers_to("shop"));
    }

    #[test]
    fn aliases_are_limited() {
        let mut team = sales();
        for at in 0..20 {
            team = renamed(&team, &format!("key_{at}")).unwrap();
        }
        assert_eq!(
            renamed(&team, "key_20").unwrap_err().reason(),
            ErrorReason::LimitReached
        );
        assert!(renamed(&team, "sales").is_ok(), "one of its own makes none more");
    }

    #[test]
    fn members_come_and_go_once() {
        let before = sales();
        let (two, one) = (people(2), people(1));
        let after = before.with(&two, LATER).unwrap();
        assert_eq!((after.version, after.update_time), (2, LATER));
        assert_eq!(before.joined(&after), Vec::from_iter(two.clone()));
        assert_eq!(after.with(&two, LATER).unwrap(), after);
        assert_eq!(after.without(&one, LATER), after);
        let left = after.without(&two, LATER);
        assert!(left.members.is_empty() && left.version == 3);
        assert_eq!(after.joined(&left), []);
        let full = before.with(&people(500), LATER).unwrap();
        assert!(full.is_full() && !after.is_full());
        assert_eq!(full.with(&one, LATER).unwrap_err().reason(), ErrorReason::LimitReached);
        assert!(full.with(&BTreeSet::new(), LATER).is_ok());
    }

    /// A field that the mask accepts must not be forgotten.
    #[test]
    fn every_leaf_that_can_be_changed_is() {
        let full = api::Team {
            key: Some("shop".to_owned()),
            description: Some("a\nb".to_owned()),
            members: vec![Uid::new().to_string()],
            ..labelled("Shop")
        };
        let before = sales();
        for field in api::UpdateTeamRequest::FIELDS {
            if field.behavior == Behavior::Mutable {
                let after = update(&before, &full, Some(&[field.path])).unwrap();
                assert_eq!(before.changed_fields(&after)[0], field.path);
            }
        }
        let cleared = update(&before, &labelled("Sales"), Some(&["label", "description", "members"]));
        assert_eq!(cleared.unwrap(), before);
    }
}
