//! A database that refuses, played by triggers: a statement that fails, or a commit; or one person's rows, for good.

use carillon::ids::ProfileId;
use sea_orm::{ConnectionTrait, DatabaseConnection};

use super::BACKEND;
use crate::database::Backend;
use crate::script::DatabaseFault;

/// What is wrong, until it is healed. On SQLite it ends with the writer's connection.
pub struct Illness {
    table: &'static str,
    /// It refuses one person for good, and is well for everybody else.
    pub is_of_one: bool,
}

impl Illness {
    pub async fn fall(writer: &DatabaseConnection, fault: DatabaseFault, table: &'static str) -> Self {
        let sql = match (BACKEND, fault) {
            // Not RAISE: that is a word about a row, and what is refused of one person is parked.
            (Backend::Sqlite, DatabaseFault::Refuses) => [("INSERT", "ill_insert"), ("UPDATE", "ill_update")]
                .map(|(verb, name)| {
                    format!("CREATE TEMP TRIGGER {name} BEFORE {verb} ON main.{table}
                             BEGIN SELECT abs(-9223372036854775807 - 1); END;")
                })
                .concat(),
            // A row that refers to nothing is found out when all is to be kept.
            (Backend::Sqlite, DatabaseFault::CommitFails) => format!(
                "PRAGMA foreign_keys = ON;
                 CREATE TEMP TABLE ill_parent (id INTEGER PRIMARY KEY);
                 CREATE TEMP TABLE ill_child (id INTEGER REFERENCES ill_parent (id) DEFERRABLE INITIALLY DEFERRED);
                 CREATE TEMP TRIGGER ill_insert AFTER INSERT ON main.{table} BEGIN INSERT INTO ill_child VALUES (1); END;
                 CREATE TEMP TRIGGER ill_update AFTER UPDATE ON main.{table} BEGIN INSERT INTO ill_child VALUES (1); END;"
            ),
            (Backend::Postgres, fault) => {
                let when = match fault {
                    DatabaseFault::Refuses => "TRIGGER ill BEFORE",
                    DatabaseFault::CommitFails => "CONSTRAINT TRIGGER ill AFTER",
                };
                let late = if fault == DatabaseFault::CommitFails { "DEFERRABLE INITIALLY DEFERRED" } else { "" };
                format!(
                    "CREATE OR REPLACE FUNCTION ill() RETURNS trigger LANGUAGE plpgsql AS
                         $$ BEGIN RAISE EXCEPTION 'disk I/O error' USING ERRCODE = 'io_error'; END $$;
                     CREATE {when} INSERT OR UPDATE ON {table} {late} FOR EACH ROW EXECUTE FUNCTION ill()"
                )
            }
        };
        writer.execute_unprepared(&sql).await.unwrap();
        Self { table, is_of_one: false }
    }

    /// Rules against what this person's clients send, and against taking their timers: words about rows.
    pub async fn of_one(writer: &DatabaseConnection, profile: ProfileId) -> Self {
        let one = profile.0;
        let call =
            format!("NEW.profile = {one} AND NEW.kind IN ('track', 'identify', 'page', 'screen', 'group', 'alias')");
        // Whatever else changes a row counts its versions.
        let timer = format!("NEW.id = {one} AND NEW.wake_at IS NULL AND NEW.version = OLD.version");
        let sql = match BACKEND {
            Backend::Sqlite => format!(
                "CREATE TEMP TRIGGER ill_insert BEFORE INSERT ON main.entries WHEN {call}
                 BEGIN SELECT RAISE(ABORT, 'not this one'); END;
                 CREATE TEMP TRIGGER ill_update BEFORE UPDATE ON main.profiles WHEN {timer}
                 BEGIN SELECT RAISE(ABORT, 'nor this one'); END;"
            ),
            Backend::Postgres => format!(
                "CREATE OR REPLACE FUNCTION ill() RETURNS trigger LANGUAGE plpgsql AS
                     $$ BEGIN RAISE EXCEPTION 'not this one'; END $$;
                 CREATE TRIGGER ill BEFORE INSERT ON entries FOR EACH ROW WHEN ({call}) EXECUTE FUNCTION ill();
                 CREATE TRIGGER ill BEFORE UPDATE ON profiles FOR EACH ROW WHEN ({timer}) EXECUTE FUNCTION ill()"
            ),
        };
        writer.execute_unprepared(&sql).await.unwrap();
        Self { table: "entries", is_of_one: true }
    }

    pub async fn heal(self, writer: &DatabaseConnection) {
        let sql = match BACKEND {
            Backend::Sqlite => "DROP TRIGGER IF EXISTS temp.ill_insert; DROP TRIGGER IF EXISTS temp.ill_update;
                 DROP TABLE IF EXISTS temp.ill_child; DROP TABLE IF EXISTS temp.ill_parent;"
                .to_owned(),
            Backend::Postgres if self.is_of_one => {
                "DROP TRIGGER IF EXISTS ill ON entries; DROP TRIGGER IF EXISTS ill ON profiles".to_owned()
            }
            Backend::Postgres => format!("DROP TRIGGER IF EXISTS ill ON {}", self.table),
        };
        writer.execute_unprepared(&sql).await.unwrap();
    }
}
