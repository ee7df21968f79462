use rusqlite::Connection;

use super::{StoreError, wal::WalRoom};

/// The one connection that writes. A transaction begins with the first write of a batch, so that a
/// batch that only reads costs no sync.
pub(crate) struct Writer {
    conn: Connection,
    open: bool,
    room: WalRoom,
}

impl Writer {
    pub(super) fn new(conn: Connection, mut room: WalRoom) -> Self {
        room.keep();
        Self { conn, open: false, room }
    }

    /// The connection inside the batch's transaction.
    pub(crate) fn tx(&mut self) -> Result<&Connection, StoreError> {
        if !self.open {
            self.conn.prepare_cached("BEGIN IMMEDIATE")?.execute([])?;
            self.open = true;
        }
        Ok(&self.conn)
    }

    /// The connection for reading only; it sees what the batch wrote.
    pub(crate) fn read(&self) -> &Connection {
        &self.conn
    }

    /// Makes the batch durable.
    pub(crate) fn commit(&mut self) -> Result<(), StoreError> {
        if self.open {
            self.conn.prepare_cached("COMMIT")?.execute([])?;
            self.open = false;
            self.room.keep();
        }
        Ok(())
    }

    /// Undoes the batch. Where SQLite has already done so by itself that is no error.
    pub(crate) fn roll_back(&mut self) {
        if self.open
            && !self.conn.is_autocommit()
            && let Err(error) = self.conn.execute_batch("ROLLBACK")
        {
            tracing::error!(%error, "failed to roll back");
        }
        self.open = false;
    }
}
