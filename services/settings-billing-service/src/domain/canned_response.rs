//! Canned responses: answers that are written once and used in many conversations.

use super::language::Language;
use super::template::{Rendered, Template, is_name};
use clientele_api::error::{ErrorReason, Invalid};
use clientele_api::fold::fold_case;
use clientele_api::mask::Mask;
use clientele_api::name::{OrganizationRef, Parts};
use clientele_api::settings::{self as api, canned_response::Scope};
use clientele_api::{Error, Micros, Result, Uid, Violations, parse};
use std::collections::BTreeMap;

/// How many the organization, each team and each person may have of their own.
pub const MOST: i64 = 2_000;
const MAX_TAGS: usize = 20;
/// How many values a text is given at most.
const MOST_VALUES: usize = 100;
const LONGEST_TEXT: usize = 4_000;

/// A canned response of an organization.
#[derive(Debug, Clone, PartialEq)]
pub struct CannedResponse {
    /// Its identity.
    pub uid: Uid,
    /// The organization whose users it is for.
    pub organization: OrganizationRef,
    /// Counts its changes, from 1.
    pub version: i64,
    /// When it was created.
    pub create_time: Micros,
    /// When it changed last.
    pub update_time: Micros,
    /// Whose it is.
    pub holder: Holder,
    /// What can be changed of it.
    pub content: Content,
}

/// Whose a canned response is: who may read it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Holder {
    /// Every user of the organization.
    Organization,
    /// The members of a team.
    Team {
        /// The team.
        uid: Uid,
        /// The key or alias by which it was named.
        key: String,
    },
    /// The user who wrote it.
    User(Uid),
}

/// Who is to read a canned response, as a request says it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Readers {
    /// Every user of the organization.
    Organization,
    /// The members of the team with this key or alias.
    Team(String),
    /// The user who calls.
    User(Uid),
}

/// What can be changed of a canned response.
#[derive(Debug, Clone, PartialEq)]
pub struct Content {
    /// What is typed to find it.
    pub short_code: String,
    /// What it is called in lists.
    pub title: String,
    /// The answer.
    pub text: Template,
    /// The language of the text; None: any.
    pub language: Option<Language>,
    /// For lists.
    pub tags: Vec<String>,
}

/// What can be there once in an organization: a holder's short code in a language.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Key {
    /// The uid of the organization, of the team or of the user.
    pub holder: Uid,
    /// The short code, in lower case.
    pub code: String,
    /// The code of the language; empty: any.
    pub language: &'static str,
}

/// A canned response that is to be created, or to replace another one.
#[derive(Debug, Clone, PartialEq)]
pub struct NewCannedResponse {
    /// Who is to read it.
    pub readers: Readers,
    /// All that it says.
    pub content: Content,
}

impl NewCannedResponse {
    /// Reads the canned response at a path of a request of this user; None: no user of the organization calls.
    pub fn parse(
        message: &api::CannedResponse,
        path: &str,
        organization: &OrganizationRef,
        user: Option<Uid>,
        violations: &mut Violations,
    ) -> Option<Self> {
        let readers = read_readers(message, path, organization, user, violations);
        let short_code = read_short_code(message, path, violations);
        let title = read_title(message, path, violations);
        let text = read_text(message, path, violations);
        let language = read_language(message, path, violations);
        let tags = read_tags(message, path, violations);
        Some(Self {
            readers: readers?,
            content: Content {
                short_code: short_code?,
                title: title?,
                text: text?,
                language: language?,
                tags: tags?,
            },
        })
    }

    /// The canned response that comes of it.
    pub fn into_response(self, organization: &OrganizationRef, holder: Holder, now: Micros) -> CannedResponse {
        CannedResponse {
            uid: Uid::new(),
            organization: organization.clone(),
            version: 1,
            create_time: now,
            update_time: now,
            holder,
            content: self.content,
        }
    }
}

impl Holder {
    /// Its uid: the organization's, the team's or the user's.
    pub fn uid(&self, organization: &OrganizationRef) -> Uid {
        match self {
            Self::Organization => organization.uid,
            Self::Team { uid, .. } | Self::User(uid) => *uid,
        }
    }

    /// As messages and rows say it.
    pub fn scope(&self) -> Scope {
        match self {
            Self::Organization => Scope::Organization,
            Self::Team { .. } => Scope::Team,
            Self::User(_) => Scope::Personal,
        }
    }
}

impl Content {
    /// What of it can be there once.
    pub fn key(&self, holder: Uid) -> Key {
        Key {
            holder,
            code: fold_case(&self.short_code),
            language: self.language.map_or("", Language::code),
        }
    }
}

impl CannedResponse {
    /// `…/cannedResponses/{canned_response}`.
    pub fn name(&self) -> String {
        response_name(&self.organization, self.uid)
    }

    /// What of it can be there once.
    pub fn key(&self) -> Key {
        self.content.key(self.holder.uid(&self.organization))
    }

    /// Refuses an etag that is not the present one; an empty one is not checked.
    pub fn check_etag(&self, etag: &str) -> Result<()> {
        self.uid.check_etag(self.version, etag, &self.name())
    }

    /// With the leaves of the mask changed to the message's; equal to this one if nothing differs. The scope and the team may be said
    /// again, and no others.
    pub fn update(&self, message: &api::CannedResponse, mask: &Mask, now: Micros) -> Result<Self> {
        const PATH: &str = "canned_response";
        let mut violations = Violations::new();
        self.check_readers(message, &mut violations);
        let mut content = self.content.clone();
        let wanted = &mut violations;
        if mask.has("short_code") {
            replace(&mut content.short_code, read_short_code(message, PATH, wanted));
        }
        if mask.has("title") {
            replace(&mut content.title, read_title(message, PATH, wanted));
        }
        if mask.has("text") {
            replace(&mut content.text, read_text(message, PATH, wanted));
        }
        if mask.has("language") {
            replace(&mut content.language, read_language(message, PATH, wanted));
        }
        if mask.has("tags") {
            replace(&mut content.tags, read_tags(message, PATH, wanted));
        }
        violations.finish(Some(self.replaced(content, now)))
    }

    /// Notes another scope or team than it has.
    fn check_readers(&self, message: &api::CannedResponse, violations: &mut Violations) {
        let own = api::CannedResponse::from(self);
        if message.scope.is_some() && message.scope != own.scope {
            violations.add(
                "canned_response.scope",
                "must be absent, or what it is: it can't be changed",
            );
        }
        if message.team.is_some() && message.team() != own.team() {
            violations.add(
                "canned_response.team",
                "must be absent, or what it is: it can't be changed",
            );
        }
    }

    /// With all of its content replaced; equal to this one if nothing differs.
    pub fn replaced(&self, content: Content, now: Micros) -> Self {
        if content == self.content {
            return self.clone();
        }
        Self {
            version: self.version + 1,
            update_time: now,
            content,
            ..self.clone()
        }
    }

    /// As the journal tells of it, to readers who may not read what a person keeps for itself.
    pub fn told(&self) -> api::CannedResponse {
        let message = api::CannedResponse::from(self);
        if !self.is_personal() {
            return message;
        }
        api::CannedResponse {
            short_code: None,
            title: None,
            text: None,
            variables: Vec::new(),
            language: None,
            tags: Vec::new(),
            ..message
        }
    }

    /// The paths of the leaves that differ afterwards, as far as the journal tells of them.
    pub fn changed_fields(&self, after: &Self) -> Vec<String> {
        let (before, after) = (self.told(), after.told());
        [
            ("short_code", before.short_code != after.short_code),
            ("title", before.title != after.title),
            ("text", before.text != after.text),
            ("language", before.language != after.language),
            ("tags", before.tags != after.tags),
        ]
        .into_iter()
        .filter(|(_, differs)| *differs)
        .map(|(path, _)| path.to_owned())
        .collect()
    }

    /// Whether only its owner reads it.
    pub fn is_personal(&self) -> bool {
        matches!(self.holder, Holder::User(_))
    }
}

/// `…/cannedResponses/{canned_response}`.
pub fn response_name(organization: &OrganizationRef, id: impl std::fmt::Display) -> String {
    format!("{}/cannedResponses/{id}", organization.name())
}

/// Notes every key that was there before, at the path of its canned response; the keys stand at their places in the request.
pub fn check_repeats<K: Ord>(keys: impl Iterator<Item = (usize, K)>, violations: &mut Violations) {
    let mut seen = BTreeMap::new();
    for (at, key) in keys {
        if let Some(first) = seen.get(&key) {
            let rule =
                format!("must not be that of canned_responses[{first}], which has the same readers and language");
            violations.add(format!("canned_responses[{at}].short_code"), rule);
        } else {
            seen.insert(key, at);
        }
    }
}

/// Refuses so many more for a holder that has `used`.
pub fn require_room(organization: &OrganizationRef, used: i64, more: i64) -> Result<()> {
    if more <= 0 || used + more <= MOST {
        return Ok(());
    }
    let name = organization.name();
    let message = format!("there are {used} of the same readers in {name:?} and may be {MOST}: delete some first");
    Err(Error::new(ErrorReason::LimitReached, message)
        .with("limit", MOST)
        .with("used", used)
        .about("Organization", name))
}

/// The text with values in the places of its variables.
pub fn render(text: &Template, values: &BTreeMap<String, String>) -> Result<Rendered> {
    let mut violations = Violations::new();
    let rendered = violations.check("variables", text.render(values));
    violations.finish(rendered)
}

/// Refuses values that no text is given.
pub fn check_values(values: &BTreeMap<String, String>) -> Result<()> {
    let mut violations = Violations::new();
    if values.len() > MOST_VALUES {
        violations.add(
            "variables",
            format!("must be at most {MOST_VALUES}, not {}", values.len()),
        );
    }
    for (name, value) in values {
        // What is no name may be as long as it likes.
        let path = if is_name(name) {
            format!("variables.{name}")
        } else {
            "variables".to_owned()
        };
        violations.check(&path, parse::paragraphs(value, LONGEST_TEXT));
    }
    violations.finish(Some(()))
}

fn replace<T>(value: &mut T, parsed: Option<T>) {
    // What broke its rule left a violation.
    if let Some(parsed) = parsed {
        *value = parsed;
    }
}

fn read_readers(
    message: &api::CannedResponse,
    path: &str,
    organization: &OrganizationRef,
    user: Option<Uid>,
    violations: &mut Violations,
) -> Option<Readers> {
    let scope = parse::enum_value(message.scope.unwrap_or_default());
    let scope = violations.check(&format!("{path}.scope"), scope)?;
    let team = message.team();
    if scope != Scope::Team && !team.is_empty() {
        violations.add(format!("{path}.team"), "must be empty where the scope is not TEAM");
        return None;
    }
    match (scope, user) {
        (Scope::Team, _) => {
            let key = violations.check(&format!("{path}.team"), team_key(organization, team))?;
            Some(Readers::Team(key.to_owned()))
        }
        (Scope::Personal, Some(user)) => Some(Readers::User(user)),
        (Scope::Personal, None) => {
            let rule = "must not be PERSONAL: only users of the organization keep those";
            violations.add(format!("{path}.scope"), rule);
            None
        }
        _ => Some(Readers::Organization),
    }
}

/// The key in the name of a team of this organization.
fn team_key<'n>(organization: &OrganizationRef, name: &'n str) -> Result<&'n str, Invalid> {
    let pattern = "workspaces/{workspace}/organizations/{organization}/teams/{team}";
    let parts = Parts::parse(name, &[pattern]).ok();
    let here = parts.filter(|_| name.starts_with(&format!("{}/", organization.name())));
    let rule = || Invalid::new(format!("must be of the form {pattern}, in this organization"));
    here.and_then(|parts| parts.id("teams")).ok_or_else(rule)
}

fn read_short_code(message: &api::CannedResponse, path: &str, violations: &mut Violations) -> Option<String> {
    let parsed = parse::line(message.short_code(), 1..=64).and_then(|code| {
        let parts = |character: char| character.is_whitespace() || character == '/';
        match code.contains(parts) {
            true => Err(Invalid::new("must not contain white space or slashes")),
            false => Ok(code),
        }
    });
    violations.check(&format!("{path}.short_code"), parsed)
}

fn read_title(message: &api::CannedResponse, path: &str, violations: &mut Violations) -> Option<String> {
    violations.check(&format!("{path}.title"), parse::line(message.title(), 0..=200))
}

fn read_text(message: &api::CannedResponse, path: &str, violations: &mut Violations) -> Option<Template> {
    let parsed = match message.text() {
        "" => Err(Invalid::new(format!("must have 1 to {LONGEST_TEXT} characters, not 0"))),
        text => parse::paragraphs(text, LONGEST_TEXT).and_then(|text| Template::parse(&text)),
    };
    violations.check(&format!("{path}.text"), parsed)
}

fn read_language(message: &api::CannedResponse, path: &str, violations: &mut Violations) -> Option<Option<Language>> {
    let parsed = match message.language() {
        "" => Ok(None),
        code => Language::parse(code).map(Some),
    };
    violations.check(&format!("{path}.language"), parsed)
}

fn read_tags(message: &api::CannedResponse, path: &str, violations: &mut Violations) -> Option<Vec<String>> {
    violations.check(&format!("{path}.tags"), parse::words(&message.tags, MAX_TAGS))
}

impl From<&CannedResponse> for api::CannedResponse {
    fn from(response: &CannedResponse) -> Self {
        let organization = response.organization.name();
        let content = &response.content;
        let mut message = Self {
            name: response.name(),
            uid: response.uid.to_string(),
            version: response.version,
            etag: response.uid.etag(response.version),
            create_time: Some(response.create_time.into()),
            update_time: Some(response.update_time.into()),
            short_code: Some(content.short_code.clone()),
            title: Some(content.title.clone()),
            text: Some(content.text.as_str().to_owned()),
            variables: content.text.variables().into_iter().map(str::to_owned).collect(),
            scope: Some(response.holder.scope().into()),
            language: Some(content.language.map_or("", Language::code).to_owned()),
            tags: content.tags.clone(),
            ..Self::default()
        };
        match &response.holder {
            Holder::Organization => {}
            Holder::Team { uid, key } => {
                message.team = Some(format!("{organization}/teams/{key}"));
                message.team_uid = uid.to_string();
            }
            Holder::User(uid) => message.owner = format!("{organization}/members/{uid}"),
        }
        message
    }
}
