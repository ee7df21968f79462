//! What attempts leave behind: outputs and artifacts.

use rusqlite::Connection;
use windlass_core::Digest;
use windlass_proto::common::v1::{Artifact, Output, artifact::Kind};

use super::{StoreError, attempts::AttemptKey};

fn digest(hex: &str) -> Result<[u8; 32], StoreError> {
    hex.parse::<Digest>().map(|digest| digest.0).map_err(|_| StoreError::Corrupt { what: "digest" })
}

/// Adds the outputs of an attempt, in their order. Digests must have been checked.
pub(crate) fn insert_outputs(
    tx: &Connection,
    key: AttemptKey,
    outputs: &[Output],
) -> Result<(), StoreError> {
    let mut statement = tx.prepare_cached(
        "INSERT INTO outputs (run_id, step, attempt, position, name, digest, size, codec)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
    )?;
    for (position, output) in (0i64..).zip(outputs) {
        let digest = digest(&output.digest)?;
        let (name, size, codec) = (&output.name, output.size_bytes, &output.codec);
        let (run, step, attempt) = (key.run.0, key.step.0, key.attempt.0);
        statement.execute((run, step, attempt, position, name, digest, size, codec))?;
    }
    Ok(())
}

/// Adds the artifacts of an attempt. Digests must have been checked.
pub(crate) fn insert_artifacts(
    tx: &Connection,
    key: AttemptKey,
    artifacts: &[Artifact],
) -> Result<(), StoreError> {
    let mut statement = tx.prepare_cached(
        "INSERT OR REPLACE INTO artifacts (run_id, step, attempt, path, kind, digest, size,
             executable)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
    )?;
    for artifact in artifacts {
        let deleted = artifact.kind() == Kind::Deleted;
        let digest = if deleted { None } else { Some(digest(&artifact.digest)?) };
        let (run, step, attempt) = (key.run.0, key.step.0, key.attempt.0);
        let (path, size) = (&artifact.path, artifact.size_bytes);
        let what = (run, step, attempt, path, artifact.kind, digest, size, artifact.executable);
        statement.execute(what)?;
    }
    Ok(())
}

/// The outputs of one attempt, in their order.
pub(crate) fn outputs(conn: &Connection, key: AttemptKey) -> Result<Vec<Output>, StoreError> {
    let mut statement = conn.prepare_cached(
        "SELECT name, digest, size, codec FROM outputs
         WHERE run_id = ?1 AND step = ?2 AND attempt = ?3 ORDER BY position",
    )?;
    let mut rows = statement.query((key.run.0, key.step.0, key.attempt.0))?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        found.push(Output {
            name: row.get(0)?,
            digest: Digest(row.get(1)?).to_string(),
            size_bytes: row.get(2)?,
            codec: row.get(3)?,
        });
    }
    Ok(found)
}

/// The artifacts of one attempt, by path.
pub(crate) fn artifacts(conn: &Connection, key: AttemptKey) -> Result<Vec<Artifact>, StoreError> {
    let mut statement = conn.prepare_cached(
        "SELECT path, kind, digest, size, executable FROM artifacts
         WHERE run_id = ?1 AND step = ?2 AND attempt = ?3 ORDER BY path",
    )?;
    let mut rows = statement.query((key.run.0, key.step.0, key.attempt.0))?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        let digest: Option<[u8; 32]> = row.get(2)?;
        found.push(Artifact {
            path: row.get(0)?,
            kind: row.get(1)?,
            digest: digest.map(|bytes| Digest(bytes).to_string()).unwrap_or_default(),
            size_bytes: row.get(3)?,
            executable: row.get(4)?,
        });
    }
    Ok(found)
}
