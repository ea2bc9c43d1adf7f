//! What happens when a session is used from another place than it was opened from.

/// What happens when the browser family or the network of a session changes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Binding {
    /// Nothing.
    #[default]
    Off,
    /// It goes on, and the change is told.
    Alarm,
    /// The request is not authenticated, and the change is told. The session goes on where it was opened.
    Refuse,
}
