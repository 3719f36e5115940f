//! What a pass over a queue leaves to be done.

/// What is to be done next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// Nothing until the guest says something.
    Idle,
    /// Something at this time.
    Wait(u64),
    /// There is more right now.
    More,
}

impl Next {
    /// What is to be done for both.
    pub(super) fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::More, _) | (_, Self::More) => Self::More,
            (Self::Wait(one), Self::Wait(other)) => Self::Wait(one.min(other)),
            (Self::Wait(time), Self::Idle) | (Self::Idle, Self::Wait(time)) => Self::Wait(time),
            (Self::Idle, Self::Idle) => Self::Idle,
        }
    }
}
