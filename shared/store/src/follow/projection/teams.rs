//! Projected teams.

use super::kind::{Projected, Told, Understood, uid};
use super::words;
use clientele_api::{Uid, org};
use sea_orm::entity::prelude::*;
use sea_orm::sea_query::{Condition, ExprTrait, LikeExpr, SelectStatement};
use sea_orm::{Order, QueryOrder, QuerySelect, QueryTrait};

/// What other services know of a team.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "projection_teams")]
pub struct Model {
    /// Its identity.
    #[sea_orm(primary_key, auto_increment = false)]
    pub uid: Uuid,
    /// Its workspace.
    pub workspace_uid: Uuid,
    /// Its organization.
    pub organization_uid: Uuid,
    /// Its key; NULL: gone.
    pub id: Option<String>,
    /// Its version.
    pub version: i64,
    /// The number of the bootstrap that named it last.
    pub bootstrap: i64,
    /// The keys that it had before, with blanks between them.
    pub aliases: String,
    /// The ids of the users who are in it, with blanks between them.
    pub members: String,
}

/// The row stands alone.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}

impl Projected for Entity {
    type Message = org::Team;
    const NAMED: &'static str = "workspaces/{workspace}/organizations/{organization}/teams/{team}";

    fn keep(told: &Told<'_>, message: org::Team) -> Understood<Option<Model>> {
        let members = message.members.iter().map(|text| Ok(uid(text)?.to_string()));
        Ok(Some(Model {
            uid: told.uid,
            workspace_uid: told.workspace()?,
            organization_uid: told.organization()?,
            id: told.id(),
            version: told.version(),
            bootstrap: told.bootstrap,
            aliases: words(&message.aliases)?,
            members: words(&members.collect::<Understood<Vec<_>>>()?)?,
        }))
    }
}

/// The team of an organization with this key or alias, if there is one: rather the one whose key it is, and the newest.
pub fn with_key(organization: Uid, key: &str) -> Select<Entity> {
    in_organization(organization)
        .filter(Condition::any().add(Column::Id.eq(key)).add_option(alias(key)))
        .order_by(Column::Id.eq(key), Order::Desc)
        .order_by_desc(Column::Uid)
        .limit(1)
}

/// The uids of an organization's teams that a user is in.
pub fn with_member(organization: Uid, user: Uid) -> SelectStatement {
    in_organization(organization)
        .select_only()
        .column(Column::Uid)
        .filter(Column::Members.contains(user.to_string()))
        .into_query()
}

fn in_organization(organization: Uid) -> Select<Entity> {
    Entity::find()
        .filter(Column::OrganizationUid.eq(organization.0))
        .filter(Column::Id.is_not_null())
}

/// Has this alias. None: no alias looks so, and what stands between aliases, or is compared without case on SQLite, must find none.
fn alias(key: &str) -> Option<Expr> {
    let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
    let may_be = !key.is_empty() && key.bytes().all(inner);
    may_be.then(|| {
        let like = LikeExpr::new(format!("% {} %", key.replace('_', r"\_"))).escape('\\');
        Expr::cust("' ' || projection_teams.aliases || ' '").like(like)
    })
}
