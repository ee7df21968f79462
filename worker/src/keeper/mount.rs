use crate::workspace::Overlay;

/// A working directory that was mounted for an attempt.
pub(super) struct Mounted(Overlay);

impl Mounted {
    /// Mounts the overlay of that JSON; nothing where there is none. The error is for people.
    pub(super) fn new(overlay: &[u8]) -> Result<Option<Self>, String> {
        if overlay.is_empty() {
            return Ok(None);
        }
        let failed = |error: &dyn std::fmt::Display| {
            format!("failed to mount the working directory: {error}")
        };
        let overlay: Overlay = serde_json::from_slice(overlay).map_err(|error| failed(&error))?;
        overlay.mount().map_err(|error| failed(&error))?;
        Ok(Some(Self(overlay)))
    }

    pub(super) fn unmount(self) {
        if let Err(error) = self.0.unmount() {
            tracing::warn!(%error, "failed to unmount a working directory");
        }
    }
}
