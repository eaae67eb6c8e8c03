//! Projected users.

use super::kind::{Projected, Told, Understood};
use clientele_api::org;
use clientele_api::org::user::State;
use sea_orm::entity::prelude::*;

/// What other services know of a user.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "projection_users")]
pub struct Model {
    /// Its identity.
    #[sea_orm(primary_key, auto_increment = false)]
    pub uid: Uuid,
    /// Its id; NULL: gone.
    pub id: Option<String>,
    /// Its version.
    pub version: i64,
    /// The number of the bootstrap that named it last.
    pub bootstrap: i64,
    /// Whether the person may use nothing.
    pub disabled: bool,
}

/// The row stands alone.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}

impl Projected for Entity {
    type Message = org::User;
    const NAMED: &'static str = "workspaces/{workspace}/users/{user}";

    fn keep(told: &Told<'_>, message: org::User) -> Understood<Option<Model>> {
        // What an erasure emptied, of a person who is known by other changes or will be told to be gone, tells nothing of what is now.
        if !told.is_gone() && message.state == i32::from(State::Unspecified) {
            return Ok(None);
        }
        Ok(Some(Model {
            uid: told.uid,
            id: told.id(),
            version: told.version(),
            bootstrap: told.bootstrap,
            // In a state of a newer version the person may do nothing, whatever else it is.
            disabled: message.state() != State::Active,
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::super::Batch;
    use super::*;
    use clientele_api::Uid;
    use clientele_api::journal::{Change, Entry};

    #[test]
    fn what_an_erasure_emptied_shuts_nobody_out_and_who_is_gone_is_gone() {
        let uid = Uid::new().to_string();
        let user = |state: i32| org::User {
            name: format!("workspaces/acme/users/{uid}"),
            uid: uid.clone(),
            version: 1,
            state,
            ..org::User::default()
        };
        let rows = |change: Change| {
            let entry = Entry {
                changes: vec![change],
                ..Entry::default()
            };
            let batch = Batch::read(&[entry], 1);
            assert!(batch.poisoned.is_empty());
            batch.rows.into_values().map(|row| row.gone).collect::<Vec<bool>>()
        };
        let created = Change::created(&user(State::Active.into()));
        let mut emptied = created.clone();
        emptied.scrub();
        assert_eq!(rows(created), [false]);
        assert!(rows(emptied).is_empty());
        assert_eq!(rows(Change::created(&user(99))), [false], "a state of a newer version");
        assert_eq!(rows(Change::purged(&user(State::Active.into()), 2)), [true]);
    }
}
