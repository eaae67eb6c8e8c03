//! Admission: between authentication and a handler's own work. It reads the method's policy from the proto, resolves names, waits for the
//! revision that the caller has seen, mints the scope, and answers repeated request ids from the journal.

use crate::caller::{Caller, ProofExpiry};
use crate::incoming::Incoming;
use crate::layers::TraceContext;
use crate::scope::{Call, Client, Level, Scope, allow_client};
use crate::share::Shares;
use crate::standing::{self, SignedIn, Standings};
use crate::status::status;
use clientele_api::access::Method;
use clientele_api::error::ErrorReason;
use clientele_api::name::{OrganizationRef, Parts, WorkspaceRef};
use clientele_api::org::AccessDenial;
use clientele_api::request::{Mutation, Preview, Request};
use clientele_api::{Error, Result, Uid, Violations, parse};
use clientele_store::follow::Followed;
use clientele_store::journal::{RequestMark, Row};
use clientele_store::{Answer, Directory, Journal, Revision};
use sha2::{Digest, Sha256};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;
use tonic::metadata::{MetadataMap, MetadataValue};
use tonic::transport::server::TcpConnectInfo;
use tonic::{Code, Response, Status, Streaming};
use uuid::Uuid;

/// The header of answers: nothing newer is in them.
pub const REVISION: &str = "clientele-revision";
/// The header of calls: answer only when you know this.
pub const MIN_REVISION: &str = "clientele-min-revision";

/// The header of calls by internal services: the address of the person on whose behalf they call.
pub const CLIENT_ADDRESS: &str = "clientele-client-address";

/// When to repeat a call whose outcome is unknown: with its request id that is safe, without one it is the caller's to find out.
const AGAIN: Duration = Duration::from_millis(100);

/// Admits calls.
#[derive(Debug, Clone)]
pub struct Admission(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    journal: Journal,
    directory: Directory,
    followed: Vec<Followed>,
    standings: Option<Standings>,
    calls: Shares,
    streams: Shares,
    drain: CancellationToken,
}

impl Admission {
    /// Admission for a service with this journal, which finds names in this directory, follows these others and, if it admits client
    /// users, knows their standings. Of the calls that may be in flight each workspace has a fair share. Requests that are streams end at
    /// `drain`.
    pub fn new(
        journal: Journal,
        directory: Directory,
        followed: Vec<Followed>,
        standings: Option<Standings>,
        max_in_flight: usize,
        drain: CancellationToken,
    ) -> Self {
        Self(Arc::new(Inner {
            journal,
            directory,
            followed,
            standings,
            calls: Shares::of(max_in_flight),
            streams: Shares::of(max_in_flight),
            drain,
        }))
    }

    /// Runs a call that is not remembered: one that changes nothing, or a session.
    pub async fn read<Q, T, Work, Fut>(&self, request: tonic::Request<Q>, work: Work) -> Result<Response<T>, Status>
    where
        Q: Request<Level: Level>,
        Work: Fn(Scope<On<Q>>, Q) -> Fut,
        Fut: Future<Output = Result<Answer<T>>>,
    {
        let (metadata, extensions, message) = request.into_parts();
        let passport = Passport::read(&metadata, &extensions, Q::METHOD).map_err(status)?;
        let answer = self
            .attempt(&passport, &message, None, false, &work)
            .await
            .map_err(status)?;
        Ok(respond(answer))
    }

    /// Runs a call that changes something. Whatever refuses it, a request id that was used before answers instead.
    pub async fn write<Q, T, Work, Fut>(&self, request: tonic::Request<Q>, work: Work) -> Result<Response<T>, Status>
    where
        Q: Mutation<Level: Level>,
        T: Preview,
        Work: Fn(Scope<On<Q>>, Q) -> Fut,
        Fut: Future<Output = Result<Answer<T>>>,
    {
        let (metadata, extensions, message) = request.into_parts();
        let passport = Passport::read(&metadata, &extensions, Q::METHOD).map_err(status)?;
        let mark = mark(&passport.caller, &message).map_err(status)?;
        let validate_only = message.validate_only();
        match self
            .attempt(&passport, &message, mark.clone(), validate_only, &work)
            .await
        {
            Ok(mut answer) => {
                if validate_only {
                    answer.value.conceal();
                }
                Ok(respond(answer))
            }
            Err(refusal) => {
                let replay = match &mark {
                    Some(_) if refusal.reason() == ErrorReason::OutcomeUnknown => Err(refusal.retry_after(AGAIN)),
                    Some(mark) if !validate_only => self.replay(&passport, &message, mark, refusal).await,
                    _ => Err(refusal),
                };
                replay.map(respond).map_err(status)
            }
        }
    }

    /// Admits a call whose work is a stream; it must end when the proof of its caller does.
    pub async fn stream<Q: Request<Level: Level>>(
        &self,
        request: tonic::Request<Q>,
    ) -> Result<(Scope<On<Q>>, ProofExpiry, Q), Status> {
        let (metadata, extensions, message) = request.into_parts();
        let passport = Passport::read(&metadata, &extensions, Q::METHOD).map_err(status)?;
        let scope = self
            .admit(&passport, &message, None, false, Remember::IfProven)
            .await
            .map_err(status)?;
        Ok((scope, passport.expiry, message))
    }

    /// Runs a call that changes something and whose request is a stream, of which the first message says where. A request id that was used
    /// before answers before anything is written: of a call like this more may have changed since than a refusal would tell.
    pub async fn receive<Q, T, Work, Fut>(
        &self,
        request: tonic::Request<Streaming<Q>>,
        work: Work,
    ) -> Result<Response<T>, Status>
    where
        Q: Mutation<Level: Level>,
        T: Preview,
        Work: FnOnce(Scope<On<Q>>, Incoming<Q>) -> Fut,
        Fut: Future<Output = Result<Answer<T>>>,
    {
        let (metadata, extensions, messages) = request.into_parts();
        let passport = Passport::read(&metadata, &extensions, Q::METHOD).map_err(status)?;
        let answer = self.receive_all(&passport, messages, work).await;
        answer.map(respond).map_err(status)
    }

    async fn receive_all<Q, T, Work, Fut>(
        &self,
        passport: &Passport,
        messages: Streaming<Q>,
        work: Work,
    ) -> Result<Answer<T>>
    where
        Q: Mutation<Level: Level>,
        T: Preview,
        Work: FnOnce(Scope<On<Q>>, Incoming<Q>) -> Fut,
        Fut: Future<Output = Result<Answer<T>>>,
    {
        let hash = begin_hash::<Q>(&passport.caller);
        let mut incoming = Incoming::open(messages, passport.expiry, self.0.drain.clone(), hash).await?;
        let first = incoming.first().cloned().unwrap_or_default();
        let id = request_id(&first)?;
        let validate_only = first.validate_only();
        let names = Remember::IfProven;
        let scope = self.admit(passport, &first, None, validate_only, names).await;
        let used = match (id.filter(|_| !validate_only), &scope) {
            (None, _) => None,
            (Some(id), Ok(_)) => self.find(passport, &Names::read(&first)?, id).await?,
            (Some(id), Err(refusal)) => self.find_repeated(passport, &first, id, refusal).await?,
        };
        if let Some(row) = used {
            while incoming.next().await?.is_some() {}
            return self.answer_again(&row, incoming.mark().as_ref());
        }
        let scope = scope?;
        let end = incoming.end();
        match work(scope, incoming).await {
            Ok(mut answer) => {
                if validate_only {
                    answer.value.conceal();
                }
                Ok(answer)
            }
            Err(refusal) if id.is_some() && refusal.reason() == ErrorReason::OutcomeUnknown => {
                Err(refusal.retry_after(AGAIN))
            }
            // The same call, at the same moment: the other one came to its end first.
            Err(refusal) => match id.filter(|_| !validate_only).and_then(|id| end.mark(id)) {
                Some(mark) => self.replay(passport, &first, &mark, refusal).await,
                None => Err(refusal),
            },
        }
    }

    /// Admits and works; once more if something was not there and a remembered name means something else by now.
    async fn attempt<Q, T, Work, Fut>(
        &self,
        passport: &Passport,
        message: &Q,
        mark: Option<RequestMark>,
        validate_only: bool,
        work: &Work,
    ) -> Result<Answer<T>>
    where
        Q: Request<Level: Level>,
        Work: Fn(Scope<On<Q>>, Q) -> Fut,
        Fut: Future<Output = Result<Answer<T>>>,
    {
        let names = Remember::IfProven;
        let scope = self
            .admit(passport, message, mark.clone(), validate_only, names)
            .await?;
        let call = scope.call();
        match work(scope, message.clone()).await {
            Err(error) if call.remembered && error.reason() == ErrorReason::ResourceNotFound => {
                let (workspace, organization) = (call.workspace.clone(), call.organization.clone());
                drop(call); // its place is free for the second try
                let names = Remember::Nothing;
                let scope = self.admit(passport, message, mark, validate_only, names).await?;
                let call = scope.call();
                if (&call.workspace, &call.organization) == (&workspace, &organization) {
                    return Err(error);
                }
                drop(call);
                work(scope, message.clone()).await
            }
            done => done,
        }
    }

    async fn admit<Q: Request<Level: Level>>(
        &self,
        passport: &Passport,
        message: &Q,
        mark: Option<RequestMark>,
        validate_only: bool,
        remember: Remember,
    ) -> Result<Scope<On<Q>>> {
        let names = Names::read(message)?;
        allow(&passport.caller, Q::METHOD, &names)?;
        let shares = if Q::METHOD.deadline.is_some() {
            &self.0.calls
        } else {
            &self.0.streams
        };
        let place = shares.take(names.workspace.unwrap_or_default())?;
        self.wait(&passport.min_revision).await?;
        let remembered = remember == Remember::IfProven && self.0.journal.has_noticed(&passport.min_revision);
        let resolved = self.resolve(&names, remembered).await;
        let resolved = resolved.map_err(|error| hide(&passport.caller, Q::METHOD, &names, error))?;
        let client = self.client(passport, Q::METHOD, &names, &resolved).await?;
        let on = Q::Level::on(resolved.workspace.clone(), resolved.organization.clone());
        let on = on.ok_or_else(|| Error::internal("a method's names do not give its level"))?;
        let call = Call {
            caller: passport.caller.clone(),
            method: Q::METHOD,
            workspace: resolved.workspace,
            organization: resolved.organization,
            request: mark,
            validate_only,
            traceparent: passport.traceparent.clone(),
            client,
            client_address: passport.client_address,
            min_revision: passport.min_revision.clone(),
            remembered: resolved.remembered,
            _place: place,
        };
        Ok(Scope::mint(call, on))
    }

    /// Waits until this service knows what the caller has seen. Its own database always does, in this life of it.
    async fn wait(&self, min: &Revision) -> Result<()> {
        let own = self.0.journal.db().service();
        if let Some((epoch, n)) = min.of(own)
            && epoch > self.0.journal.epoch()
        {
            let message =
                format!("{own}={epoch}.{n} is of a later life of this database than this server knows: try again");
            return Err(Error::new(ErrorReason::NotCaughtUp, message).retry_after(Duration::from_secs(1)));
        }
        for followed in &self.0.followed {
            if let Some((epoch, n)) = min.of(followed.service()) {
                followed.wait(epoch, n).await?;
            }
        }
        Ok(())
    }

    /// The client user who calls, if it is one: it must be one of the organization's, and its standing must let it call.
    async fn client(
        &self,
        passport: &Passport,
        method: &'static Method,
        names: &Names<'_>,
        resolved: &ResolvedNames,
    ) -> Result<Option<Client>> {
        let Caller::User {
            user,
            organization,
            session,
            ..
        } = passport.caller
        else {
            return Ok(None);
        };
        if method.public {
            return Ok(None);
        }
        let not_allowed = || not_allowed(&passport.caller, method);
        let standings = self.0.standings.as_ref().ok_or_else(not_allowed)?;
        let workspace = resolved.workspace.as_ref().ok_or_else(not_allowed)?;
        let elsewhere = || Error::not_found("Resource", names.first);
        let names_itself = names.user.is_some_and(|named| Uid::parse(named) == Some(user));
        match &resolved.organization {
            Some(named) if named.uid != organization => return Err(elsewhere()),
            // Outside of its organization there is nothing for it but itself and its sessions.
            None if !names_itself && names.session.is_none() => return Err(not_allowed()),
            _ => {}
        }
        let who = SignedIn {
            organization,
            user,
            session,
        };
        let standing = standings.get(who, &passport.min_revision).await?.value;
        let standing = standing.ok_or_else(|| standing::denied(AccessDenial::MemberRemoved))?;
        if standing.workspace != workspace.uid {
            return Err(elsewhere());
        }
        // Where no person is named, as in a list or with a session, it is about itself as far as it sees nobody else.
        let about_itself = names_itself || names.user.is_none();
        let only_itself = allow_client(method, &standing, about_itself)?;
        Ok(Some(Client {
            user,
            organization,
            session,
            only_itself,
            standing,
        }))
    }

    /// What the names mean; read, unless what is remembered will do.
    async fn resolve(&self, names: &Names<'_>, remembered: bool) -> Result<ResolvedNames> {
        let mut resolved = ResolvedNames {
            workspace: None,
            organization: None,
            remembered: false,
        };
        let Some(workspace) = names.workspace else {
            return Ok(resolved);
        };
        let found = self.0.directory.workspace(workspace, remembered).await?;
        let found = found.ok_or_else(|| Error::not_found("Workspace", format!("workspaces/{workspace}")))?;
        resolved.remembered = found.remembered;
        if let Some(organization) = names.organization {
            let directory = &self.0.directory;
            let inside = directory.organization(&found.found, organization, remembered).await?;
            let name = || format!("workspaces/{workspace}/organizations/{organization}");
            let inside = inside.ok_or_else(|| Error::not_found("Organization", name()))?;
            resolved.remembered |= inside.remembered;
            resolved.organization = Some(inside.found);
        }
        resolved.workspace = Some(found.found);
        Ok(resolved)
    }

    /// The row that remembers the request id. An operator's call that deleted the workspace stands above workspaces: there is none any
    /// more, or another one.
    async fn find(&self, passport: &Passport, names: &Names<'_>, request: Uuid) -> Result<Option<Row>> {
        if let Some(id) = names.workspace
            && let Some(workspace) = self.0.directory.workspace(id, true).await?
            && let Some(row) = self.0.journal.find(workspace.found.uid, request).await?
        {
            return Ok(Some(row));
        }
        match (&passport.caller, names.workspace) {
            (Caller::Operator { .. }, _) | (_, None) => self.0.journal.find(Uid::NIL, request).await,
            _ => Ok(None),
        }
    }

    /// The first answer of a request id, if this refused call is a repetition.
    async fn replay<Q: Mutation, T: Preview>(
        &self,
        passport: &Passport,
        message: &Q,
        mark: &RequestMark,
        refusal: Error,
    ) -> Result<Answer<T>> {
        match self.find_repeated(passport, message, mark.id, &refusal).await? {
            Some(row) => self.answer_again(&row, Some(mark)),
            None => Err(refusal),
        }
    }

    /// The row that remembers the request id of a refused call, if that may be a repetition. A client user must be let in now, too.
    async fn find_repeated<Q: Mutation>(
        &self,
        passport: &Passport,
        message: &Q,
        request: Uuid,
        refusal: &Error,
    ) -> Result<Option<Row>> {
        let Ok(names) = Names::read(message) else {
            return Ok(None);
        };
        if !may_be_repetition(refusal) || allow(&passport.caller, Q::METHOD, &names).is_err() {
            return Ok(None);
        }
        if let Caller::User { .. } = passport.caller {
            let resolved = self.resolve(&names, true).await.map_err(|_| refusal.clone())?;
            self.client(passport, Q::METHOD, &names, &resolved).await?;
        }
        self.find(passport, &names, request).await
    }

    /// The answer that a row remembers, if it was given to the same request.
    fn answer_again<T: Preview>(&self, row: &Row, mark: Option<&RequestMark>) -> Result<Answer<T>> {
        if mark.is_none_or(|mark| row.request_hash.as_deref() != Some(&mark.hash[..])) {
            let message = "this request id was used before with another request: send another id";
            let error = Error::new(ErrorReason::RequestIdReused, message);
            return Err(error.with("request_id", row.request_id.unwrap_or_default()));
        }
        let value = T::decode(row.answer()?.as_slice()).map_err(Error::internal)?;
        let mut revision = Revision::new();
        revision.raise(
            self.0.journal.db().service(),
            row.epoch,
            row.cursor().position.revision(),
        );
        Ok(Answer { value, revision })
    }
}

/// Whether names that are remembered may be taken for what they were.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Remember {
    /// If nothing that the caller has seen can have changed them.
    IfProven,
    /// No: they are read.
    Nothing,
}

type On<Q> = <<Q as Request>::Level as Level>::On;

/// What the call's headers say.
struct Passport {
    caller: Caller,
    expiry: ProofExpiry,
    min_revision: Revision,
    traceparent: Option<String>,
    client_address: Option<IpAddr>,
}

impl Passport {
    fn read(metadata: &MetadataMap, extensions: &tonic::Extensions, method: &Method) -> Result<Self> {
        let proven = extensions
            .get::<Caller>()
            .cloned()
            .zip(extensions.get::<ProofExpiry>().copied())
            .or(method.public.then_some((Caller::Public, ProofExpiry::NEVER)));
        let unproven = || Error::internal("a call reached its handler without authentication");
        let (caller, expiry) = proven.ok_or_else(unproven)?;
        let mut min_revision = Revision::new();
        for value in metadata.get_all(MIN_REVISION) {
            let text = value.to_str().unwrap_or("?"); // not text: refused like any other malformed value
            min_revision.merge(&Revision::parse(text)?);
        }
        let traceparent = extensions.get::<TraceContext>().map(TraceContext::to_string);
        let client_address = client_address(&caller, metadata, extensions)?;
        Ok(Self {
            client_address,
            caller,
            expiry,
            min_revision,
            traceparent,
        })
    }
}

/// The address of the person on whose behalf the call is made. Only internal services speak for others: what anybody else says of
/// itself is not looked at.
fn client_address(caller: &Caller, metadata: &MetadataMap, extensions: &tonic::Extensions) -> Result<Option<IpAddr>> {
    if !matches!(caller, Caller::Service { .. }) {
        let connection = extensions.get::<TcpConnectInfo>();
        return Ok(connection
            .and_then(TcpConnectInfo::remote_addr)
            .map(|address| address.ip()));
    }
    let said: Vec<_> = metadata.get_all(CLIENT_ADDRESS).iter().collect();
    let [said] = said[..] else {
        return if said.is_empty() {
            Ok(None)
        } else {
            Err(not_an_address())
        };
    };
    let address = said.to_str().ok().and_then(|text| text.parse().ok());
    address.map(Some).ok_or_else(not_an_address)
}

fn not_an_address() -> Error {
    let message = format!("{CLIENT_ADDRESS} must be one IP address without a port, as in 192.0.2.1 or 2001:db8::1");
    Error::new(ErrorReason::InvalidHeader, message).with("header", CLIENT_ADDRESS)
}

/// The workspace and the organization that a request names.
#[derive(Debug, Default, PartialEq, Eq)]
struct Names<'q> {
    workspace: Option<&'q str>,
    organization: Option<&'q str>,
    /// The user, or the member, whose id is the user's.
    user: Option<&'q str>,
    /// The session.
    session: Option<&'q str>,
    first: &'q str,
}

impl<'q> Names<'q> {
    fn read<Q: Request>(message: &'q Q) -> Result<Self> {
        let mut names = Self::default();
        let mut violations = Violations::new();
        for (rule, value) in message.names() {
            if value.is_empty() && rule.optional {
                continue;
            }
            let Some(parts) = violations.check(rule.field, Parts::parse(value, rule.patterns)) else {
                continue;
            };
            let workspace = parts.id("workspaces");
            if names.workspace.is_some_and(|known| Some(known) != workspace) {
                violations.add(rule.field, "must lie in the same workspace as the names before it");
            }
            names.workspace = workspace;
            names.organization = names.organization.or(parts.id("organizations"));
            names.user = names.user.or(parts.id("users")).or(parts.id("members"));
            names.session = names.session.or(parts.id("sessions"));
            if names.first.is_empty() {
                names.first = value;
            }
        }
        violations.finish(Some(names))
    }
}

struct ResolvedNames {
    workspace: Option<WorkspaceRef>,
    organization: Option<OrganizationRef>,
    remembered: bool,
}

/// Whether the caller may call this method on these names. What lies in another workspace looks as if it did not exist.
fn allow(caller: &Caller, method: &Method, names: &Names<'_>) -> Result<()> {
    let allowed = match caller {
        _ if method.public => true,
        Caller::Public => false,
        // Which of them its standing allows is looked at when the names are resolved.
        Caller::User { .. } => !method.permissions.is_empty(),
        Caller::Operator { .. } => true,
        Caller::Service { .. } => method.service,
        Caller::Staff { workspace, role, .. } => {
            let enough = names.workspace.is_some() && method.role.is_some_and(|least| *role >= least);
            if enough && names.workspace != Some(workspace.as_str()) {
                return Err(Error::not_found("Resource", names.first));
            }
            enough
        }
    };
    if allowed {
        Ok(())
    } else {
        Err(not_allowed(caller, method))
    }
}

fn not_allowed(caller: &Caller, method: &Method) -> Error {
    let message = format!(
        "{} is not for you; the method's comment says who may call it",
        method.path
    );
    Error::new(ErrorReason::CallerNotAllowed, message).with("actor", caller.actor())
}

/// Whoever is no insider of the workspace does not learn which of the names exist. Who calls a public method may be anybody.
fn hide(caller: &Caller, method: &Method, names: &Names<'_>, error: Error) -> Error {
    let insider = !method.public && !matches!(caller, Caller::User { .. } | Caller::Public);
    if !insider && error.is_about(&["Workspace", "Organization"]) {
        return Error::not_found("Resource", names.first);
    }
    error
}

/// The request id, and the hash of what must be equal when it is used again.
fn mark<Q: Mutation>(caller: &Caller, message: &Q) -> Result<Option<RequestMark>> {
    let Some(id) = request_id(message)? else {
        return Ok(None);
    };
    let mut hash = begin_hash::<Q>(caller);
    hash_part(&mut hash, &message.body());
    Ok(Some(RequestMark {
        id,
        hash: hash.finalize().into(),
    }))
}

fn request_id<Q: Mutation>(message: &Q) -> Result<Option<Uuid>> {
    if message.request_id().is_empty() {
        return Ok(None);
    }
    let mut violations = Violations::new();
    let id = violations.check("request_id", parse::uuid(message.request_id()));
    violations.finish(id).map(Some)
}

/// The method and who calls it; what it says comes after it.
fn begin_hash<Q: Mutation>(caller: &Caller) -> Sha256 {
    let mut hash = Sha256::new();
    let (actor, acting_for) = (caller.actor(), caller.acting_for().unwrap_or_default());
    for part in [Q::METHOD.path, &actor, &acting_for] {
        hash_part(&mut hash, part.as_bytes());
    }
    hash
}

fn hash_part(hash: &mut Sha256, part: &[u8]) {
    hash.update((part.len() as u64).to_be_bytes());
    hash.update(part);
}

/// Refusals that a repetition of a call that succeeded can meet. The others say that it can't have succeeded, or can't be looked up.
fn may_be_repetition(refusal: &Error) -> bool {
    let by_state = matches!(
        refusal.code(),
        Code::NotFound | Code::AlreadyExists | Code::Aborted | Code::FailedPrecondition
    );
    by_state
        || matches!(
            refusal.reason(),
            ErrorReason::RequestIdReused
                | ErrorReason::LimitReached
                | ErrorReason::TokenIssuedRecently
                // A password that was right the first time may be wrong by now.
                | ErrorReason::TooManyAttempts
                // A time that was far enough in the future may be so no more.
                | ErrorReason::InvalidFields
        )
}

fn respond<T>(answer: Answer<T>) -> Response<T> {
    let mut response = Response::new(answer.value);
    if let Ok(revision) = MetadataValue::try_from(answer.revision.to_string()) {
        response.metadata_mut().insert(REVISION, revision);
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;
    use clientele_api::access::StaffRole;

    fn address(caller: &Caller, headers: &[&str]) -> Result<Option<String>> {
        let mut metadata = MetadataMap::new();
        for header in headers {
            metadata.append(CLIENT_ADDRESS, header.parse().unwrap());
        }
        let mut extensions = tonic::Extensions::new();
        extensions.insert(TcpConnectInfo {
            local_addr: None,
            remote_addr: Some("198.51.100.7:4711".parse().unwrap()),
        });
        let found = client_address(caller, &metadata, &extensions)?;
        Ok(found.map(|address| address.to_string()))
    }

    #[test]
    fn an_internal_service_says_for_whom_it_calls_and_nobody_else_does() {
        let service = Caller::Service {
            name: "dashboard".to_owned(),
        };
        let said = |headers: &[&str]| address(&service, headers).unwrap();
        assert_eq!(said(&["192.0.2.1"]).as_deref(), Some("192.0.2.1"));
        assert_eq!(said(&["2001:db8::1"]).as_deref(), Some("2001:db8::1"));
        // Its own address is nobody's.
        assert_eq!(said(&[]), None);
        for malformed in [
            &[""][..],
            &["192.0.2.1:80"],
            &["localhost"],
            &["192.0.2.1, 192.0.2.2"],
            &["192.0.2.1", "192.0.2.2"],
        ] {
            let refusal = address(&service, malformed).unwrap_err();
            assert_eq!(refusal.reason(), ErrorReason::InvalidHeader, "{malformed:?}");
        }
        let staff = Caller::Staff {
            subject: "sam".to_owned(),
            workspace: "acme".to_owned(),
            role: StaffRole::Owner,
        };
        let user = Caller::User {
            user: Uid::new(),
            organization: Uid::new(),
            session: None,
            actor: None,
        };
        for caller in [Caller::Public, staff, user] {
            for headers in [&[][..], &["192.0.2.1"], &["garbage"]] {
                assert_eq!(address(&caller, headers).unwrap().as_deref(), Some("198.51.100.7"));
            }
        }
    }
}
