use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use rusqlite::Connection;
use tokio::sync::Semaphore;

use super::{StoreError, open_reader};

/// Connections that read at the same time.
const READERS: usize = 3;

/// Longest a read may take, and so a snapshot live: the write-ahead log cannot shrink below it.
const READ_LIMIT: Duration = Duration::from_secs(1);

/// Reads on blocking threads through a few connections of their own. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Readers {
    shared: Arc<Shared>,
}

struct Shared {
    path: PathBuf,
    idle: Mutex<Vec<Connection>>,
    permits: Semaphore,
}

impl Readers {
    /// Readers of the database at `path`; each connection opens when it is first needed.
    pub(crate) fn new(path: &Path) -> Self {
        let shared = Shared {
            path: path.to_owned(),
            idle: Mutex::default(),
            permits: Semaphore::new(READERS),
        };
        Self { shared: Arc::new(shared) }
    }

    /// Runs `read` over one snapshot. Interrupted when it takes more than a second.
    pub(crate) async fn read<T, F>(&self, read: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
    {
        let permit = self.shared.permits.acquire().await.map_err(|_| StoreError::TooSlow)?;
        let shared = Arc::clone(&self.shared);
        let (handle_to, handle) = tokio::sync::oneshot::channel();
        let mut task = tokio::task::spawn_blocking(move || {
            let conn = shared.take()?;
            handle_to.send(conn.get_interrupt_handle()).ok();
            let result = within_snapshot(&conn, read);
            if conn.is_autocommit() {
                shared.put(conn);
            }
            result
        });
        let result = match tokio::time::timeout(READ_LIMIT, &mut task).await {
            Ok(joined) => joined,
            Err(_) => {
                if let Ok(handle) = handle.await {
                    handle.interrupt();
                }
                task.await
            }
        };
        drop(permit);
        result.map_err(|_| StoreError::TooSlow)?
    }
}

impl Shared {
    fn take(&self) -> Result<Connection, StoreError> {
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        idle.map_or_else(|| open_reader(&self.path), Ok)
    }

    fn put(&self, conn: Connection) {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(conn);
    }
}

fn within_snapshot<T>(
    conn: &Connection,
    read: impl FnOnce(&Connection) -> Result<T, StoreError>,
) -> Result<T, StoreError> {
    conn.prepare_cached("BEGIN DEFERRED")?.execute([])?;
    let result = read(conn);
    conn.prepare_cached("ROLLBACK")?.execute([])?;
    match result {
        Err(StoreError::Sqlite(rusqlite::Error::SqliteFailure(error, _)))
            if error.code == rusqlite::ErrorCode::OperationInterrupted =>
        {
            Err(StoreError::TooSlow)
        }
        other => other,
    }
}
