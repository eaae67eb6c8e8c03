//! The walk of the README, as it is printed there.

use crate::World;
use clientele_testkit::{Caller, Calls, on_both_engines};
use serde_json::Value;
use std::process::Command;

const README: &str = include_str!("../../../../README.md");

/// A call that the README makes.
struct Call {
    id: String,
    server: String,
    method: String,
    /// JSON, with the names of what earlier calls answer.
    request: String,
}

/// What bash makes of the README's blocks if `call` only prints what it is given: loops run, variables are filled in.
fn calls() -> Vec<Call> {
    let blocks = README
        .split("```sh\n")
        .skip(1)
        .map(|block| block.split("```").next().unwrap());
    let lines = blocks.filter(|block| block.contains("call -d")).flat_map(str::lines);
    let script: Vec<&str> = lines.collect();
    // What a call answers is not known here: what the README takes out of it is named after the call, and filled in later.
    let printing = r#"
call() {
    local id=$RANDOM$RANDOM
    printf '%s\x1f' "$id" "$@" >&3
    printf '\x1e' >&3
    printf '  "name": "name-%s/id-%s",\n  "token": "token-%s"\n' "$id" "$id" "$id"
}
ORG=org ASSIGNMENT=assignment SETTINGS=settings
exec 3>&1 >/dev/null
"#;
    let output = Command::new("bash")
        .arg("-euc")
        .arg(printing.to_owned() + &script.join("\n"))
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    let printed = String::from_utf8(output.stdout).unwrap();
    printed
        .split('\u{1e}')
        .filter(|call| !call.is_empty())
        .map(read)
        .collect()
}

fn read(printed: &str) -> Call {
    let mut arguments: Vec<&str> = printed.trim_end_matches('\u{1f}').split('\u{1f}').collect();
    let method = arguments.pop().unwrap().to_owned();
    let server = arguments.pop().unwrap().to_owned();
    let request = arguments
        .iter()
        .position(|argument| *argument == "-d")
        .map(|at| arguments[at + 1]);
    Call {
        id: arguments[0].to_owned(),
        server,
        method: format!("/{method}"),
        request: request.unwrap().to_owned(),
    }
}

/// What the README took out of an answer, by how the printing `call` named it.
fn taken(id: &str, answer: &Value) -> Vec<(String, String)> {
    let name = answer["name"].as_str().unwrap_or_default();
    let last = name.rsplit('/').next().unwrap_or_default();
    let token = answer["token"].as_str().unwrap_or_default();
    vec![
        (format!("name-{id}/id-{id}"), name.to_owned()),
        (format!("id-{id}"), last.to_owned()),
        (format!("token-{id}"), token.to_owned()),
    ]
}

#[tokio::test]
async fn the_set_up_works_as_printed() {
    let calls = calls();
    assert!(calls.len() > 10, "the README's walk has {} calls", calls.len());
    on_both_engines(async |engine| {
        let world = World::start(engine).await;
        let mut operator = Caller::with(world.tokens.operator());
        let mut answers = Vec::new();
        let mut known = Vec::new();
        for Call {
            id,
            server,
            method,
            request,
        } in self::calls()
        {
            let filled = |request: String, (name, value): &(String, String)| request.replace(name, value);
            let request = serde_json::from_str(&known.iter().fold(request, filled)).unwrap();
            let running = match server.as_str() {
                "org" => &world.org,
                "assignment" => &world.assignment,
                "settings" => &world.settings,
                other => panic!("the README names no server {other}"),
            };
            let (answer, headers) = Calls::new(running.channel().await)
                .call(&method, &operator, request)
                .await
                .unwrap_or_else(|status| panic!("{method}: {status:?}"));
            if let Some(revision) = headers.get("clientele-revision") {
                // A person takes longer than the services need to hear of it.
                let seen = operator.min_revision.take().unwrap_or_default();
                operator.min_revision = Some(format!("{seen},{}", revision.to_str().unwrap()));
            }
            known.extend(taken(&id, &answer));
            answers.push((method, answer));
        }
        let answer = |method: &str| {
            let found = answers.iter().rev().find(|(known, _)| known.ends_with(method));
            &found.unwrap_or_else(|| panic!("the README does not call {method}")).1
        };
        assert_eq!(answer("/UpdateLogo")["logo"]["contentType"], "image/png");
        assert_eq!(answer("/ListAssignments")["assignments"].as_array().unwrap().len(), 2);
        assert_eq!(answer("/CheckAccess")["reason"], "DENIAL_REASON_NOT_ASSIGNED");
        assert_eq!(
            answer("/TestPermissions")["permissions"],
            serde_json::json!(["leads.view"])
        );
        let picked = answer("/PickAssignee")["member"].as_str().unwrap();
        assert_eq!(answer("/SetPresence")["name"], picked);
        assert_eq!(answer("/AcceptInvitation")["state"], "STATE_ACCEPTED");
        let effective = &answer("/GetSettings")["effective"];
        assert_eq!(
            (&effective["language"], &effective["layout"]),
            (&"de".into(), &"LAYOUT_HORIZONTAL".into())
        );
        assert_eq!(effective["handoff"]["smartEnabled"], true);
        assert_eq!(effective["customTabs"]["tabs"][0]["id"], "shop");
        let revisions = answer("/ListSettingsRevisions")["revisions"].as_array();
        assert_eq!(revisions.unwrap().len(), 1);
        let found = answer("/SearchCannedResponses")["cannedResponses"].as_array();
        assert_eq!(found.unwrap().len(), 1);
        assert_eq!(
            answer("/RenderCannedResponse")["missingVariables"],
            serde_json::json!(["open"])
        );
        assert!(answer("/ListEntries")["entries"].as_array().unwrap().len() > 5);
        assert_eq!(answer("/Watch")["entry"]["changes"][0]["resource"], "workspaces/acme");
    })
    .await;
}
