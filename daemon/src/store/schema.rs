use rusqlite_migration::{M, Migrations};

/// Every step of the schema, oldest first; their number is the database's `user_version`. One that
/// was ever released is never changed: a new one is added.
const MIGRATIONS: &[M<'static>] =
    &[M::up(include_str!("schema/1.sql")), M::up(include_str!("schema/2.sql"))];

/// The schema's steps, for the one connection that migrates.
pub(super) const SCHEMA: Migrations<'static> = Migrations::from_slice(MIGRATIONS);

/// The `user_version` of a database of this program.
pub(super) fn version() -> i64 {
    i64::try_from(MIGRATIONS.len()).unwrap_or(i64::MAX)
}
