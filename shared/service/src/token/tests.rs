//! Which tokens are believed and which are not.

use super::{Claims, FetchedKeys, Role, SESSIONS, SessionIssuer, SessionKeys, SigningKey, Verifier};
use crate::caller::Caller;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use clientele_api::Uid;
use clientele_api::access::StaffRole;
use clientele_api::error::ErrorReason::{self, TokenExpired, TokenInvalid};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tempfile::TempDir;

const HOUR: Duration = Duration::from_secs(3600);

/// An issuer `main` that may give all roles, and its files.
struct Issuer {
    folder: TempDir,
    key: SigningKey,
}

impl Issuer {
    fn new() -> Self {
        let issuer = Self {
            folder: tempfile::tempdir().unwrap(),
            key: SigningKey::generate(),
        };
        issuer.publish(&issuer.key.jwks());
        let entry = json!({ "issuer": "main", "jwks": "keys.json", "algorithms": ["EdDSA"],
            "roles": ["operator", "owner", "admin", "member", "service", "user"] });
        write(&issuer.issuers(), &json!([entry]));
        issuer
    }

    fn issuers(&self) -> PathBuf {
        self.folder.path().join("issuers.json")
    }

    fn publish(&self, jwks: &Value) {
        write(&self.folder.path().join("keys.json"), jwks);
    }

    fn verifier(&self) -> Verifier {
        load(&self.issuers()).unwrap()
    }
}

fn load(issuers: &Path) -> anyhow::Result<Verifier> {
    Verifier::load(issuers, SessionIssuer::Fetched(FetchedKeys::default()))
}

fn write(path: &Path, value: &Value) {
    std::fs::write(path, value.to_string()).unwrap();
}

fn operator() -> Claims {
    Claims::new("main", "ann", Role::Operator)
}

fn reason(verifier: &Verifier, token: &str) -> Result<Caller, ErrorReason> {
    verifier
        .verify(token)
        .map(|(caller, _)| caller)
        .map_err(|error| error.reason())
}

fn user(subject: &str) -> Claims {
    Claims::new("main", subject, Role::User)
}

#[test]
fn every_role_becomes_its_caller() {
    let issuer = Issuer::new();
    let verifier = issuer.verifier();
    let staff = |role| Caller::Staff {
        subject: "ann".into(),
        workspace: "acme".into(),
        role,
    };
    for (role, workspace, caller) in [
        (Role::Operator, None, Caller::Operator { subject: "ann".into() }),
        (Role::Service, None, Caller::Service { name: "ann".into() }),
        (Role::Owner, Some("acme"), staff(StaffRole::Owner)),
        (Role::Admin, Some("acme"), staff(StaffRole::Admin)),
        (Role::Member, Some("acme"), staff(StaffRole::Member)),
    ] {
        let mut claims = Claims::new("main", "ann", role);
        claims.workspace = workspace.map(str::to_owned);
        let token = issuer.key.mint(&claims, HOUR);
        assert_eq!(reason(&verifier, &token), Ok(caller.clone()));
        assert_eq!(reason(&verifier, &token), Ok(caller), "remembered");
    }
}

#[test]
fn a_client_user_is_its_uids() {
    let issuer = Issuer::new();
    let (user, organization) = (Uid::new(), Uid::new());
    let claims = Claims::new("main", user.to_string(), Role::User).in_organization(organization.to_string());
    let token = issuer.key.mint(&claims, HOUR);
    assert_eq!(
        reason(&issuer.verifier(), &token),
        Ok(Caller::User {
            user,
            organization,
            session: None,
            actor: None,
        })
    );
}

#[test]
fn claims_that_do_not_fit_are_refused() {
    let issuer = Issuer::new();
    let verifier = issuer.verifier();
    let mut other_audience = operator();
    other_audience.audience = "other".into();
    for (claims, why) in [
        (Claims::new("other", "ann", Role::Operator), "issuer"),
        (other_audience, "audience"),
        (operator().in_workspace("acme"), "workspace of an operator"),
        (
            Claims::new("main", "x", Role::Service).in_workspace("acme"),
            "workspace of a service",
        ),
        (Claims::new("main", "ann", Role::Admin), "no workspace"),
        (
            Claims::new("main", "ann", Role::Admin).in_workspace("../x"),
            "workspace that is no id",
        ),
        (
            operator().in_organization(Uid::new().to_string()),
            "organization of an operator",
        ),
        (
            Claims::new("main", Uid::new().to_string(), Role::User),
            "no organization",
        ),
        (
            user("ann").in_organization(Uid::new().to_string()),
            "subject that is no uid",
        ),
        (
            user(&Uid::new().to_string()).in_organization("bakery"),
            "organization that is no uid",
        ),
        (
            user(&Uid::new().to_string())
                .in_organization(Uid::new().to_string())
                .in_workspace("acme"),
            "workspace of a client user",
        ),
        (Claims::new("main", "", Role::Operator), "no subject"),
        (Claims::new("main", "a\nb", Role::Operator), "subject with controls"),
    ] {
        assert_eq!(
            reason(&verifier, &issuer.key.mint(&claims, HOUR)),
            Err(TokenInvalid),
            "{why}"
        );
    }
}

#[test]
fn an_expired_token_says_so_even_if_it_was_remembered() {
    let issuer = Issuer::new();
    let verifier = issuer.verifier();
    let sign = |exp: u64| {
        sign(
            &issuer,
            json!({ "iss": "main", "aud": "clientele", "sub": "ann", "exp": exp, "clientele_role": "operator" }),
        )
    };
    let now = jsonwebtoken::get_current_timestamp();
    assert_eq!(reason(&verifier, &sign(now - 60)), Err(TokenExpired));
    assert!(reason(&verifier, &sign(now - 2)).is_ok(), "within the leeway");

    // Remembered one second before its leeway ends.
    let token = sign(now - 4);
    assert!(reason(&verifier, &token).is_ok());
    while jsonwebtoken::get_current_timestamp() <= now + 1 {
        std::thread::yield_now();
    }
    assert_eq!(reason(&verifier, &token), Err(TokenExpired));
}

#[test]
fn claims_that_are_missing_or_malformed_are_refused() {
    let issuer = Issuer::new();
    let verifier = issuer.verifier();
    let now = jsonwebtoken::get_current_timestamp();
    let good =
        json!({ "iss": "main", "aud": "clientele", "sub": "ann", "exp": now + 60, "clientele_role": "operator" });
    assert!(reason(&verifier, &sign(&issuer, good.clone())).is_ok());
    for claim in ["iss", "aud", "sub", "exp", "clientele_role"] {
        let mut lacking = good.clone();
        lacking.as_object_mut().unwrap().remove(claim);
        assert_eq!(reason(&verifier, &sign(&issuer, lacking)), Err(TokenInvalid), "{claim}");
    }
    for (claim, value) in [
        ("exp", json!("tomorrow")),
        ("nbf", json!(now + 60)),
        ("clientele_role", json!("root")),
        ("clientele_workspace", json!(7)),
        ("iss", json!(["main", "other"])),
    ] {
        let mut bad = good.clone();
        bad[claim] = value;
        assert_eq!(reason(&verifier, &sign(&issuer, bad)), Err(TokenInvalid), "{claim}");
    }
}

/// Signs any claims with the issuer's key.
fn sign(issuer: &Issuer, claims: Value) -> String {
    sign_under(issuer, jsonwebtoken::Header::default(), claims)
}

/// Signs them under a header that says more.
fn sign_under(issuer: &Issuer, mut header: jsonwebtoken::Header, claims: Value) -> String {
    let pem = issuer.folder.path().join("key.pem");
    if !pem.exists() {
        issuer.key.save(&pem).unwrap();
    }
    let key = jsonwebtoken::EncodingKey::from_ed_pem(&std::fs::read(pem).unwrap()).unwrap();
    header.alg = jsonwebtoken::Algorithm::EdDSA;
    header.kid = issuer.key.jwks()["keys"][0]["kid"].as_str().map(str::to_owned);
    jsonwebtoken::encode(&header, &claims, &key).unwrap()
}

#[test]
fn signatures_that_prove_nothing_are_refused() {
    let issuer = Issuer::new();
    let verifier = issuer.verifier();
    let token = issuer.key.mint(&operator(), HOUR);
    let parts: Vec<&str> = token.split('.').collect();
    let headed = |header: Value| {
        format!(
            "{}.{}.{}",
            URL_SAFE_NO_PAD.encode(header.to_string()),
            parts[1],
            parts[2]
        )
    };
    let kid = issuer.key.jwks()["keys"][0]["kid"].clone();
    let forged = Claims::new("main", "eve", Role::Operator);
    let forged = SigningKey::generate().mint(&forged, HOUR);
    let forged = format!("{}.{}", parts[0], forged.split_once('.').unwrap().1);
    for (token, why) in [
        (String::new(), "empty"),
        ("a.b.c".to_owned(), "no JWT"),
        (parts[..2].join("."), "no signature"),
        (format!("{}.{}.", parts[0], parts[1]), "an empty signature"),
        (headed(json!({ "alg": "none", "kid": kid })), "alg none"),
        (
            headed(json!({ "alg": "HS256", "kid": kid })),
            "the public key as a secret",
        ),
        (
            headed(json!({ "alg": "RS256", "kid": kid })),
            "an algorithm that is not the issuer's",
        ),
        (headed(json!({ "alg": "EdDSA" })), "no kid"),
        (headed(json!({ "alg": "EdDSA", "kid": "other" })), "an unknown kid"),
        (forged, "the kid of one key, the signature of another"),
    ] {
        assert_eq!(reason(&verifier, &token), Err(TokenInvalid), "{why}");
    }
}

#[test]
fn genuine_tokens_of_a_form_that_is_not_ours_are_refused() {
    let issuer = Issuer::new();
    let verifier = issuer.verifier();
    let claims = |more: &str| {
        let exp = jsonwebtoken::get_current_timestamp() + 60;
        json!({ "iss": "main", "aud": "clientele", "sub": "ann", "exp": exp, "clientele_role": "operator", "more": more })
    };
    let critical = jsonwebtoken::Header {
        crit: Some(vec!["b64".to_owned()]),
        ..Default::default()
    };
    assert!(reason(&verifier, &sign(&issuer, claims("x"))).is_ok());
    for (token, why) in [
        (sign_under(&issuer, critical, claims("x")), "a critical header"),
        (sign(&issuer, claims(&"x".repeat(9000))), "far too long"),
    ] {
        assert_eq!(reason(&verifier, &token), Err(TokenInvalid), "{why}");
    }
}

#[test]
fn an_issuer_gives_only_its_roles_and_signs_only_for_itself() {
    let main = Issuer::new();
    let sessions = SigningKey::generate();
    write(&main.folder.path().join("sessions.json"), &sessions.jwks());
    write(
        &main.issuers(),
        &json!([
            { "issuer": "main", "jwks": "keys.json", "algorithms": ["EdDSA"], "roles": ["operator"] },
            { "issuer": "sessions", "audience": "sessions", "jwks": "sessions.json", "algorithms": ["EdDSA"], "roles": ["member"] },
        ]),
    );
    let verifier = main.verifier();
    let mut member = Claims::new("sessions", "ann", Role::Member).in_workspace("acme");
    member.audience = "sessions".into();
    assert!(reason(&verifier, &sessions.mint(&member, HOUR)).is_ok());
    let mut operator = Claims::new("sessions", "ann", Role::Operator);
    operator.audience = "sessions".into();
    assert_eq!(reason(&verifier, &sessions.mint(&operator, HOUR)), Err(TokenInvalid));
    assert_eq!(
        reason(&verifier, &sessions.mint(&self::operator(), HOUR)),
        Err(TokenInvalid)
    );
}

#[test]
fn a_rotated_key_is_found_and_a_withdrawn_one_is_not_believed_any_more() {
    let issuer = Issuer::new();
    let verifier = issuer.verifier();
    let old = issuer.key.mint(&operator(), HOUR);
    assert!(reason(&verifier, &old).is_ok());

    let next = SigningKey::generate();
    let new = next.mint(&operator(), HOUR);
    let mut both = issuer.key.jwks();
    both["keys"]
        .as_array_mut()
        .unwrap()
        .push(next.jwks()["keys"][0].clone());
    issuer.publish(&both);
    assert!(
        reason(&verifier, &new).is_ok(),
        "an unknown kid has the file read at once"
    );
    assert!(reason(&verifier, &old).is_ok());

    issuer.publish(&next.jwks());
    until(|| reason(&verifier, &old) == Err(TokenInvalid));
    assert!(reason(&verifier, &new).is_ok());

    std::fs::write(issuer.folder.path().join("keys.json"), "{ half").unwrap();
    let unknown = SigningKey::generate().mint(&operator(), HOUR);
    assert_eq!(reason(&verifier, &unknown), Err(TokenInvalid));
    assert!(reason(&verifier, &new).is_ok(), "the last good keys stay in force");
}

/// Changes of a file are looked for once per second.
fn until(mut condition: impl FnMut() -> bool) {
    let began = std::time::Instant::now();
    while !condition() {
        assert!(began.elapsed() < Duration::from_secs(10));
        std::thread::yield_now();
    }
}

#[test]
fn a_saved_key_is_private_and_loads_as_the_same() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("key.pem");
    let key = SigningKey::generate();
    key.save(&path).unwrap();
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(SigningKey::load(&path).unwrap().jwks(), key.jwks());
    assert!(key.save(&path).is_err(), "a key is never replaced");
    assert!(!format!("{key:?}").contains(&std::fs::read_to_string(&path).unwrap()[40..60]));
}

#[test]
fn keys_of_all_kinds_verify_and_unusable_ones_are_passed_over() {
    let folder = tempfile::tempdir().unwrap();
    let issuers = folder.path().join("issuers.json");
    let rsa = json!({ "kty": "RSA", "kid": "r", "use": "sig", "n": RSA_N, "e": "AQAB" });
    let ec = json!({ "kty": "EC", "crv": "P-256", "kid": "e", "alg": "ES256", "x": EC_X, "y": EC_Y });
    write(
        &folder.path().join("keys.json"),
        &json!({ "keys": [
            { "kty": "OKP", "crv": "Ed25519", "kid": "short", "x": "AAAA" },
            { "kty": "OKP", "crv": "X25519", "kid": "other", "x": "AAAA" },
            { "kty": "oct", "kid": "secret", "k": "AAAA" },
            { "kty": "RSA", "kid": "weak", "n": "AQAB", "e": "AQAB" },
            rsa, ec,
        ] }),
    );
    write(
        &issuers,
        &json!([{ "issuer": "k", "jwks": "keys.json", "algorithms": ["EdDSA", "ES256", "RS256"], "roles": ["service"] }]),
    );
    let verifier = load(&issuers).unwrap();
    for token in [RS256, ES256] {
        assert_eq!(reason(&verifier, token), Ok(Caller::Service { name: "billing".into() }));
        let (rest, signature) = token.rsplit_once('.').unwrap();
        let mut spoiled = URL_SAFE_NO_PAD.decode(signature).unwrap();
        spoiled[20] ^= 1;
        let spoiled = format!("{rest}.{}", URL_SAFE_NO_PAD.encode(spoiled));
        assert_eq!(reason(&verifier, &spoiled), Err(TokenInvalid));
    }
    for kid in ["short", "other", "secret", "weak"] {
        let header = URL_SAFE_NO_PAD.encode(json!({ "alg": "EdDSA", "kid": kid }).to_string());
        let token = format!("{header}.{}", RS256.split_once('.').unwrap().1);
        assert_eq!(reason(&verifier, &token), Err(TokenInvalid), "{kid}");
    }

    write(
        &issuers,
        &json!([{ "issuer": "k", "jwks": "keys.json", "algorithms": ["ES256"], "roles": ["service"] }]),
    );
    let verifier = load(&issuers).unwrap();
    assert!(reason(&verifier, ES256).is_ok());
    assert_eq!(
        reason(&verifier, RS256),
        Err(TokenInvalid),
        "a key of the issuer, but not its algorithm"
    );
}

#[test]
fn issuers_that_cannot_work_are_refused_at_the_start() {
    let issuer = Issuer::new();
    let good = json!({ "issuer": "main", "jwks": "keys.json", "algorithms": ["EdDSA"], "roles": ["operator"] });
    let with = |key: &str, value: Value| {
        let mut entry = good.clone();
        entry[key] = value;
        json!([entry])
    };
    for bad in [
        json!([]),
        json!({}),
        json!([good, good]),
        with("algorithms", json!([])),
        with("algorithms", json!(["HS256"])),
        with("roles", json!([])),
        with("roles", json!(["root"])),
        with("audience", json!("")),
        with("jwks", json!("missing.json")),
        with("unknown", json!(1)),
    ] {
        write(&issuer.issuers(), &bad);
        assert!(load(&issuer.issuers()).is_err(), "{bad}");
    }
}

// Signed with keys that exist no more; they expire in 2100.
const RSA_N: &str = "v8sod8IqLN7Go16bjO7u0szWclQDFGWStoXyDVYKDNP3nHBpm944HV0eYQ6kFj2fC2SlxbVsZbz29vrosZZbwEucXIF7MCbJb7XdP_h-9N1n9_V5Zo41yh637KlKsXFsFNFGJobOz4i1ZxFx7hwMASwNRRUUxIIt-kdmECa-GwbmD4fPbWCuI7xbae_Q_oddRcNv1Hjbb9TGjyrHjPyP4SjZ3HuRKJZ09FNS87wZbn2jRrh2KsAO8z1J7tSnbCvyFTHELyRRhejy0W-cq4xbdze6STl-gspiwH8_ZXAOv4FjiZl0u-n-yxzjLC5IiKe75NWJSDDjWWgKIWZ18MNb_w";
const EC_X: &str = "pHnyYwXtlXVTPTu0HxecMSq39ijop-Vu8CxEV0Exx2Q";
const EC_Y: &str = "QZP2Nq-u0mwVwCGQEx69IDNHLO_N-rbjVlXAmD12LN8";
const RS256: &str = "eyJhbGciOiJSUzI1NiIsImtpZCI6InIifQ.eyJpc3MiOiJrIiwiYXVkIjpbImNsaWVudGVsZSIsIngiXSwic3ViIjoiYmlsbGluZyIsImV4cCI6NDEwMjQ0NDgwMCwiY2xpZW50ZWxlX3JvbGUiOiJzZXJ2aWNlIn0.V5SVk4440MDvT4o8LmTslRfIPvF2W0j4DVSYUQwT55qOISQLNmFUH2vFUodldbGKSrCMs5bxjDUBQ_gDb3zTcytFzQCdNnriNI-oSBFTJvTn_N5Q12FYAiWoWLL_GR9vbkjpeDJAcspRiKio1qdbOqqDwjieS7qYV9xp0EYf0dabJSwWlsMZP_thV31fqSn14Ylzw_ZPl0XhqefNGm_BZ60BDouWZEalbmnV8KE5ALUWwIMeFtOabrL99WCFemjOSDTGb8__KqlV3uOhyVsTmxtunYACt35f8ZirKDTbw7MfPWi1_tH8rm-ju2epK8J_wm7EQRU68VZ3qLfx_sfUyA";
const ES256: &str = "eyJhbGciOiJFUzI1NiIsImtpZCI6ImUifQ.eyJpc3MiOiJrIiwiYXVkIjpbImNsaWVudGVsZSIsIngiXSwic3ViIjoiYmlsbGluZyIsImV4cCI6NDEwMjQ0NDgwMCwiY2xpZW50ZWxlX3JvbGUiOiJzZXJ2aWNlIn0.VLyqblwhzLS2caI8NrXC8S2_ee06ok7rFDwsFiOaNDcVniGjwA16D9mhO4qtGGRIqKePSfKcm6UQ0fyTzuJe7A";

/// The token of a session with its actor, by this key.
fn of_session(key: &SigningKey, user: Uid, organization: Uid, session: Uid) -> String {
    let claims = Claims::new(SESSIONS, user.to_string(), Role::User)
        .in_organization(organization.to_string())
        .in_session(session.to_string())
        .borne_by("staff/ann");
    key.mint(&claims, HOUR)
}

#[test]
fn a_session_is_proven_by_the_keys_of_org_service() {
    let issuer = Issuer::new();
    let keys = SessionKeys::open(keys_folder(&issuer).as_path()).unwrap();
    let (user, organization, session) = (Uid::new(), Uid::new(), Uid::new());
    let token = of_session(&keys.signing(), user, organization, session);
    let caller = Caller::User {
        user,
        organization,
        session: Some(session),
        actor: Some("staff/ann".to_owned()),
    };
    let own = Verifier::load(&issuer.issuers(), SessionIssuer::Own(keys.clone())).unwrap();
    assert_eq!(reason(&own, &token), Ok(caller.clone()));
    assert_eq!(
        (caller.actor().as_str(), caller.acting_for()),
        ("staff/ann", Some(format!("users/{user}")))
    );

    let fetched = FetchedKeys::default();
    let other = Verifier::load(&issuer.issuers(), SessionIssuer::Fetched(fetched.clone())).unwrap();
    assert_eq!(
        reason(&other, &token),
        Err(ErrorReason::NotCaughtUp),
        "org-service is asked"
    );
    fetched.note_fetched();
    assert_eq!(reason(&other, &token), Err(TokenInvalid), "it has just been asked");
    assert!(fetched.replace(keys.jwks()).unwrap() && !fetched.replace(keys.jwks()).unwrap());
    assert_eq!(reason(&other, &token), Ok(caller));
    assert!(fetched.replace("no set".to_owned()).is_err());
    // A key that is gone proves nothing any more, remembered or not.
    assert!(fetched.replace(SigningKey::generate().jwks().to_string()).unwrap());
    until_refused(&other, &token);
}

/// Waits until the keys are looked at again, at most once per second.
fn until_refused(verifier: &Verifier, token: &str) {
    let begin = std::time::Instant::now();
    while reason(verifier, token).is_ok() {
        assert!(begin.elapsed() < Duration::from_secs(30), "still accepted");
        std::thread::yield_now();
    }
}

fn keys_folder(issuer: &Issuer) -> PathBuf {
    let folder = issuer.folder.path().join("sessions");
    std::fs::create_dir(&folder).unwrap();
    SigningKey::generate().save(&folder.join("1.pem")).unwrap();
    folder
}

#[test]
fn sessions_are_of_client_users_only_and_no_other_issuer_has_their_name() {
    let issuer = Issuer::new();
    let keys = SessionKeys::open(keys_folder(&issuer).as_path()).unwrap();
    let verifier = Verifier::load(&issuer.issuers(), SessionIssuer::Own(keys.clone())).unwrap();
    let operator = keys
        .signing()
        .mint(&Claims::new(SESSIONS, "olga", Role::Operator), HOUR);
    assert_eq!(reason(&verifier, &operator), Err(TokenInvalid));
    let foreign = of_session(&issuer.key, Uid::new(), Uid::new(), Uid::new());
    assert_eq!(reason(&verifier, &foreign), Err(TokenInvalid));
    for (claim, bad) in [
        ("sid", json!("no uid")),
        ("act", json!({ "sub": "" })),
        ("act", json!("staff/ann")),
    ] {
        let mut claims = Claims::new(SESSIONS, Uid::new().to_string(), Role::User);
        claims.organization = Some(Uid::new().to_string());
        match claim {
            "sid" => claims.session = bad.as_str().map(str::to_owned),
            _ => claims.actor = bad["sub"].as_str().map(str::to_owned).or(Some("a\nb".to_owned())),
        }
        assert_eq!(
            reason(&verifier, &keys.signing().mint(&claims, HOUR)),
            Err(TokenInvalid),
            "{claim} {bad}"
        );
    }
    let entry = json!({ "issuer": SESSIONS, "jwks": "keys.json", "algorithms": ["EdDSA"], "roles": ["owner"] });
    write(&issuer.issuers(), &json!([entry]));
    assert!(load(&issuer.issuers()).is_err());
}
