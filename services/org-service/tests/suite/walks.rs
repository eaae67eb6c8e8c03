//! Walks over every method of the descriptors.

use crate::World;
use clientele_testkit::{Step, on_both_engines, refuse_everybody_else, replay_every_mutation};
use serde_json::json;

const BAKERY: &str = "workspaces/acme/organizations/bakery";
const BAKERS: &str = "workspaces/acme/organizations/bakers";
/// One white pixel.
const PIXEL: &str = "R0lGODlhAQABAIAAAP///wAAACH5BAAAAAAALAAAAAABAAEAAAICRAEAOw==";

#[tokio::test]
async fn nobody_gets_what_the_policy_does_not_give() {
    on_both_engines(async |engine| {
        let world = World::start(engine).await;
        world.create_organization("bakery").await;
        refuse_everybody_else(&world.calls(), &world.tokens, &world.running.services, "acme", "bakery").await;
    })
    .await;
}

#[tokio::test]
async fn every_mutation_happens_once() {
    on_both_engines(async |engine| {
        let world = World::start(engine).await;
        let on = |method, request| Step { method, request };
        let bakery = json!({ "name": BAKERY });
        world.create_organization("bakers").await;
        let ann = world.add("bakers", "ann@example.com", &[]).await;
        let user = json!({ "name": format!("workspaces/acme/users/{}", ann.user) });
        let member = json!({ "name": ann.member });
        let role = "workspaces/acme/organizations/bakers/roles/sales";
        let team = json!({ "name": format!("{BAKERS}/teams/sales") });
        let of_ann = json!({ "name": team["name"], "members": [ann.user] });
        let (invited, _) = world.invite_to(BAKERS, "dora@example.com").await;
        world.pass_a_minute().await;
        let (revoked, _) = world.invite_to(BAKERS, "emil@example.com").await;
        let ina = world.add("bakers", "ina@example.com", &[]).await;
        let ina = json!({ "name": format!("workspaces/acme/users/{}", ina.user) });
        let jan = world.add("bakers", "jan@example.com", &[]).await;
        let jan = json!({ "name": format!("workspaces/acme/users/{}", jan.user) });
        let reset = world.done("UserService/CreatePasswordReset", jan.clone()).await;
        let password = "tulip-anvil-mosaic";
        let (accepted, its_token) = world.invite_to(BAKERS, "finn@example.com").await;
        let (declined, other_token) = world.invite_to(BAKERS, "gina@example.com").await;
        for id in ["cobbler", "purged", "previewed"] {
            world.create_organization(id).await;
        }
        let zoe = world.add("cobbler", "zoe@example.com", &[]).await;
        let deleted = |id: &str| json!({ "name": format!("workspaces/acme/organizations/{id}") });
        let (purged, previewed) = (deleted("purged"), deleted("previewed"));
        for deleted in [&purged, &previewed] {
            let method = "OrganizationService/DeleteOrganization";
            world.call(&world.owner, method, deleted.clone()).await.unwrap();
        }
        let steps = vec![
            on("/clientele.org.v1.WorkspaceService/CreateWorkspace", json!({ "workspaceId": "globex", "workspace": { "displayName": "G" } })),
            on(
                "/clientele.org.v1.OrganizationService/CreateOrganization",
                json!({ "parent": "workspaces/acme", "organizationId": "bakery", "organization": { "displayName": "B" } }),
            ),
            // Derived ids find another one on their own: the repetition must not.
            on("/clientele.org.v1.OrganizationService/CreateOrganization", json!({ "parent": "workspaces/acme", "organization": { "displayName": "Bakery" } })),
            on("/clientele.org.v1.OrganizationService/UpdateOrganization", json!({ "organization": { "name": BAKERY, "displayName": "C" } })),
            // Changes nothing, and is remembered all the same.
            on("/clientele.org.v1.OrganizationService/UpdateOrganization", json!({ "organization": { "name": BAKERY, "displayName": "C" } })),
            on("/clientele.org.v1.OrganizationService/UpdateLogo", json!({ "name": BAKERY, "contentType": "image/gif", "content": PIXEL })),
            on("/clientele.org.v1.OrganizationService/DeleteLogo", bakery.clone()),
            on("/clientele.org.v1.OrganizationService/SuspendOrganization", bakery.clone()),
            on("/clientele.org.v1.OrganizationService/ResumeOrganization", bakery.clone()),
            on("/clientele.org.v1.OrganizationService/DeleteOrganization", bakery.clone()),
            on("/clientele.org.v1.OrganizationService/UndeleteOrganization", bakery),
            on("/clientele.org.v1.RoleService/CreateRole", json!({ "parent": BAKERS, "roleId": "sales", "role": { "title": "S" } })),
            on("/clientele.org.v1.RoleService/UpdateRole", json!({ "role": { "name": role, "title": "T" } })),
            on("/clientele.org.v1.RoleService/DeleteRole", json!({ "name": role })),
            on("/clientele.org.v1.MemberService/CreateMember", json!({ "parent": BAKERS, "newUser": { "email": "ben@example.com" } })),
            on("/clientele.org.v1.MemberService/BatchCreateMembers", json!({ "parent": BAKERS, "requests": [{ "newUser": { "email": "carl@example.com" } }] })),
            on("/clientele.org.v1.MemberService/UpdateMember", json!({ "member": { "name": ann.member, "roles": ["viewer"] } })),
            on("/clientele.org.v1.MemberService/SetPresence", json!({ "name": ann.member, "presence": "PRESENCE_ONLINE" })),
            on("/clientele.org.v1.TeamService/CreateTeam", json!({ "parent": BAKERS, "teamId": "sales", "team": { "label": "S" } })),
            // Derived keys find another one on their own: the repetition must not.
            on("/clientele.org.v1.TeamService/CreateTeam", json!({ "parent": BAKERS, "team": { "label": "Sales" } })),
            on("/clientele.org.v1.TeamService/AddTeamMembers", of_ann.clone()),
            // Changes nothing, and is remembered all the same.
            on("/clientele.org.v1.TeamService/AddTeamMembers", of_ann.clone()),
            on("/clientele.org.v1.TeamService/PickAssignee", team.clone()),
            on("/clientele.org.v1.TeamService/RemoveTeamMembers", of_ann),
            on("/clientele.org.v1.TeamService/UpdateTeam", json!({ "team": { "name": team["name"], "key": "shop" } })),
            on("/clientele.org.v1.TeamService/DeleteTeam", team),
            on("/clientele.org.v1.MemberService/SuspendMember", member.clone()),
            on("/clientele.org.v1.MemberService/ResumeMember", member.clone()),
            on("/clientele.org.v1.MemberService/RemoveMember", member),
            on("/clientele.org.v1.UserService/UpdateUser", json!({ "user": { "name": user["name"], "displayName": "Ann" } })),
            on("/clientele.org.v1.UserService/SetPassword", json!({ "name": user["name"], "password": password })),
            on("/clientele.org.v1.UserService/CreatePasswordReset", ina),
            on(
                "/clientele.org.v1.UserService/ResetPassword",
                json!({ "name": jan["name"], "token": reset["token"], "password": password }),
            ),
            on("/clientele.org.v1.UserService/DisableUser", user.clone()),
            on("/clientele.org.v1.UserService/EnableUser", user),
            on("/clientele.org.v1.InvitationService/CreateInvitation", json!({ "parent": BAKERS, "invitation": { "email": "hans@example.com" } })),
            on(
                "/clientele.org.v1.InvitationService/BatchCreateInvitations",
                json!({ "parent": BAKERS, "requests": [{ "invitation": { "email": "ida@example.com" } }] }),
            ),
            on("/clientele.org.v1.InvitationService/IssueInvitationToken", json!({ "name": invited })),
            on("/clientele.org.v1.InvitationService/RevokeInvitation", json!({ "name": revoked })),
            on("/clientele.org.v1.InvitationService/AcceptInvitation", json!({ "name": accepted, "token": its_token, "password": password })),
            on("/clientele.org.v1.InvitationService/DeclineInvitation", json!({ "name": declined, "token": other_token })),
            on("/clientele.org.v1.WorkspaceService/UpdateWorkspace", json!({ "workspace": { "name": "workspaces/acme", "displayName": "A" } })),
            on("/clientele.org.v1.WorkspaceService/DeleteWorkspace", json!({ "name": "workspaces/globex" })),
            // Changes nothing, and is remembered all the same.
            on("/clientele.org.v1.OrganizationService/PurgeOrganization", previewed),
            on("/clientele.org.v1.OrganizationService/PurgeOrganization", json!({ "name": purged["name"], "force": true })),
            on("/clientele.org.v1.UserService/DeleteUser", json!({ "name": format!("workspaces/acme/users/{}", zoe.user) })),
        ];
        replay_every_mutation(&world.calls(), &world.tokens, &world.running.services, steps).await;
    })
    .await;
}
