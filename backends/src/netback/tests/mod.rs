//! Whole vifs, seen from their guests and from the wire.

mod hostile;
mod life;
mod traffic;
mod wire;
