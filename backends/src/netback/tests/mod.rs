//! Whole vifs, seen from their guests and from the wire.

mod arrivals;
mod hostile;
mod life;
mod traffic;
mod wire;
