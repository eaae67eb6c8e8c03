//! The contract of settings-billing-service, on both engines.

#![cfg(test)]

mod bad_input;
mod batch;
mod canned_responses;
mod client_users;
mod conflicts;
mod conventions;
mod crash;
mod defaults;
mod following;
mod inheritance;
mod journal;
mod leftovers;
mod memory;
mod revisions;
mod settings;
mod tabs;
mod teams;
mod values;
mod walks;

use clientele_api::Uid;
use clientele_api::access::StaffRole;
use clientele_api::journal::journal_service_client::JournalServiceClient;
use clientele_api::org::Organization;
use clientele_api::settings::custom_tab::Visibility;
use clientele_api::settings::field_source::Source;
use clientele_api::settings::settings_service_client::SettingsServiceClient;
use clientele_api::settings::{
    Branding, CustomTab, CustomTabList, GetSettingsRequest, GetWorkspaceSettingsRequest, HandoffValues, Page, PageList,
    Settings, SettingsValues, UpdateSettingsRequest, UpdateWorkspaceSettingsRequest, WorkspaceSettings,
};
use clientele_service::config::Config;
use clientele_service::peer::OrgPeer;
use clientele_store::connect::{Options, connect_to_migrate};
use clientele_testkit::{Caller, Calls, Database, Engine, OrgFeed, Running, Tokens, reason};
use prost_types::FieldMask;
use sea_orm::DatabaseConnection;
use settings_billing_service::SettingsBillingService;
use std::time::Duration;
use tonic::transport::Channel;
use tonic::{Code, Response, Status};

const ACME: &str = "workspaces/acme";
const BAKERY: &str = "workspaces/acme/organizations/bakery";

/// A running settings-billing-service that follows a journal which the test tells; the workspace `acme` with the organization
/// `bakery`, and everybody who calls.
struct World {
    running: Running,
    channel: Channel,
    feed: OrgFeed,
    acme: Uid,
    bakery: Organization,
    tokens: Tokens,
    admin: Caller,
    member: Caller,
    database: Database,
}

impl World {
    async fn start(engine: Engine) -> Self {
        let tokens = Tokens::create();
        let database = Database::create(engine).await;
        let feed = OrgFeed::start().await;
        let acme = feed.create_workspace("acme");
        let bakery = feed.create_organization(acme, BAKERY);
        let running = Running::start(&service(&database, &feed, &tokens)).await;
        let world = Self {
            channel: running.channel().await,
            running,
            feed,
            acme,
            bakery,
            admin: Caller::with(tokens.staff("acme", StaffRole::Admin)),
            member: Caller::with(tokens.staff("acme", StaffRole::Member)),
            tokens,
            database,
        };
        world.hear().await;
        world
    }

    fn settings(&self) -> SettingsServiceClient<Channel> {
        SettingsServiceClient::new(self.channel.clone())
    }

    fn journal(&self) -> JournalServiceClient<Channel> {
        JournalServiceClient::new(self.channel.clone())
    }

    fn calls(&self) -> Calls {
        Calls::new(self.channel.clone())
    }

    /// The caller, who wants to be answered with everything that the feed has told.
    fn informed(&self, caller: &Caller) -> Caller {
        Caller {
            min_revision: Some(self.feed.revision()),
            ..caller.clone()
        }
    }

    /// Waits until the service has heard everything that the feed has told.
    async fn hear(&self) {
        let get = GetWorkspaceSettingsRequest {
            name: format!("{ACME}/settings"),
        };
        let caller = self.informed(&self.member);
        self.settings()
            .get_workspace_settings(caller.request(get))
            .await
            .unwrap();
    }

    /// Tells of a change of an organization, and waits until the service has heard of it.
    async fn change(&self, before: &Organization, change: impl FnOnce(&mut Organization)) -> Organization {
        let after = self.feed.update(self.acme, before, change);
        self.hear().await;
        after
    }

    /// A connection to its database.
    async fn session(&self) -> DatabaseConnection {
        let options = Options {
            url: self.database.url.clone(),
            service: "settings",
        };
        connect_to_migrate(&options).await.unwrap()
    }

    async fn get(&self) -> Result<Settings, Status> {
        self.get_of(BAKERY).await
    }

    async fn get_of(&self, organization: &str) -> Result<Settings, Status> {
        let request = GetSettingsRequest {
            name: format!("{organization}/settings"),
        };
        let answer = self.settings().get_settings(self.member.request(request)).await;
        answer.map(Response::into_inner)
    }

    async fn set(&self, overrides: SettingsValues) -> Result<Settings, Status> {
        self.update(update(overrides)).await
    }

    /// Clears the overrides that these paths name.
    async fn clear(&self, paths: &[&str]) -> Result<Settings, Status> {
        let request = UpdateSettingsRequest {
            update_mask: mask(paths),
            ..update(SettingsValues::default())
        };
        self.update(request).await
    }

    async fn update(&self, request: UpdateSettingsRequest) -> Result<Settings, Status> {
        let answer = self.settings().update_settings(self.admin.request(request)).await;
        answer.map(Response::into_inner)
    }

    async fn get_defaults(&self) -> WorkspaceSettings {
        let request = GetWorkspaceSettingsRequest {
            name: format!("{ACME}/settings"),
        };
        let answer = self
            .settings()
            .get_workspace_settings(self.member.request(request))
            .await;
        answer.unwrap().into_inner()
    }

    async fn set_defaults(&self, defaults: SettingsValues) -> Result<WorkspaceSettings, Status> {
        self.update_defaults(update_defaults(defaults)).await
    }

    async fn update_defaults(&self, request: UpdateWorkspaceSettingsRequest) -> Result<WorkspaceSettings, Status> {
        let answer = self
            .settings()
            .update_workspace_settings(self.admin.request(request))
            .await;
        answer.map(Response::into_inner)
    }
}

/// The service on a database, which follows what the test tells.
fn service(database: &Database, feed: &OrgFeed, tokens: &Tokens) -> SettingsBillingService {
    let mut config = Config::new(database.url.clone(), tokens.issuers());
    config.drain_delay = Duration::ZERO;
    let org = OrgPeer::new(feed.endpoint(), tokens.service_file("settings-billing-service"));
    SettingsBillingService { config, org }
}

/// A request to set overrides of `bakery`.
fn update(overrides: SettingsValues) -> UpdateSettingsRequest {
    let settings = Settings {
        name: format!("{BAKERY}/settings"),
        overrides: Some(overrides),
        ..Default::default()
    };
    UpdateSettingsRequest {
        settings: Some(settings),
        ..Default::default()
    }
}

/// A request to set defaults of `acme`.
fn update_defaults(defaults: SettingsValues) -> UpdateWorkspaceSettingsRequest {
    let workspace_settings = WorkspaceSettings {
        name: format!("{ACME}/settings"),
        defaults: Some(defaults),
        ..Default::default()
    };
    UpdateWorkspaceSettingsRequest {
        workspace_settings: Some(workspace_settings),
        ..Default::default()
    }
}

fn mask(paths: &[&str]) -> Option<FieldMask> {
    Some(FieldMask {
        paths: paths.iter().map(|path| (*path).to_owned()).collect(),
    })
}

fn language(code: &str) -> SettingsValues {
    SettingsValues {
        language: Some(code.to_owned()),
        ..Default::default()
    }
}

fn handoff(human_enabled: Option<bool>, smart_enabled: Option<bool>) -> SettingsValues {
    let handoff = HandoffValues {
        human_enabled,
        smart_enabled,
        show_messages: None,
    };
    SettingsValues {
        handoff: Some(handoff),
        ..Default::default()
    }
}

/// A tab of the dashboard.
fn tab(id: &str) -> CustomTab {
    CustomTab {
        id: id.to_owned(),
        title: format!("The {id}"),
        icon: "star".to_owned(),
        url: format!("https://{id}.example.com/"),
        visibility: Visibility::Granted.into(),
    }
}

/// These tabs, and nothing else.
fn tabs(ids: &[&str]) -> SettingsValues {
    let tabs = ids.iter().map(|id| tab(id)).collect();
    SettingsValues {
        custom_tabs: Some(CustomTabList { tabs }),
        ..Default::default()
    }
}

/// These pages, and nothing else.
fn pages(pages: &[Page]) -> SettingsValues {
    let pages = pages.iter().map(|page| i32::from(*page)).collect();
    SettingsValues {
        pages: Some(PageList { pages }),
        ..Default::default()
    }
}

/// One value for each leaf, none of them built in; `smart` goes with `human`.
fn each_leaf() -> [SettingsValues; 10] {
    let show_messages = HandoffValues {
        show_messages: Some(false),
        ..Default::default()
    };
    [
        language("de"),
        SettingsValues {
            layout: Some(2),
            ..Default::default()
        },
        handoff(Some(true), Some(true)),
        SettingsValues {
            handoff: Some(show_messages),
            ..Default::default()
        },
        SettingsValues {
            canned_responses_enabled: Some(true),
            ..Default::default()
        },
        pages(&[Page::Conversations, Page::Home]),
        tabs(&["shop", "docs"]),
        SettingsValues {
            free_tags_enabled: Some(true),
            ..Default::default()
        },
        SettingsValues {
            time_zone: Some("Europe/Berlin".into()),
            ..Default::default()
        },
        SettingsValues {
            branding: Some(branding()),
            ..Default::default()
        },
    ]
}

/// The same, with ids of tabs that no other round has: none is given out again.
fn of_round(round: usize, values: SettingsValues) -> SettingsValues {
    let tabs = values.custom_tabs.map(|mut list| {
        list.tabs.iter_mut().for_each(|tab| tab.id += &round.to_string());
        list
    });
    SettingsValues {
        custom_tabs: tabs,
        ..values
    }
}

fn branding() -> Branding {
    Branding {
        primary_color: "#1a2b3c".into(),
        accent_color: "#ff8800".into(),
        ..Default::default()
    }
}

/// All of [`each_leaf`] at once.
fn all_leaves() -> SettingsValues {
    let handoff = HandoffValues {
        human_enabled: Some(true),
        smart_enabled: Some(true),
        show_messages: Some(false),
    };
    SettingsValues {
        language: Some("de".into()),
        layout: Some(2),
        handoff: Some(handoff),
        canned_responses_enabled: Some(true),
        pages: pages(&[Page::Conversations, Page::Home]).pages,
        custom_tabs: tabs(&["shop", "docs"]).custom_tabs,
        free_tags_enabled: Some(true),
        time_zone: Some("Europe/Berlin".into()),
        branding: Some(branding()),
    }
}

/// Where the effective value of this path comes from.
fn source(settings: &Settings, path: &str) -> Source {
    let found = settings.sources.iter().find(|source| source.path == path);
    found.unwrap_or_else(|| panic!("{path} has no source")).source()
}

fn coded(status: Status) -> (Code, String) {
    (status.code(), reason(&status))
}

fn refused(code: Code, reason: &str) -> (Code, String) {
    (code, reason.to_owned())
}
