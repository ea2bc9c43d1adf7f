//! What happens when a session is used from another place than it was opened from.

/// What happens when the browser family or the network of a session changes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Binding {
    /// Nothing.
    #[default]
    Off,
    /// It goes on, and is told in the audit log and the metrics.
    Alarm,
    /// The request is not authenticated. The session goes on for its owner.
    Refuse,
}
