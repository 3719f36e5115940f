//! Who runs next, on which CPU, and for how long.
//!
//! The pure parts know neither hardware nor vCPUs and take the time as an argument: [`fair`] turns
//! run time into virtual time, [`runqueue`] orders those who wait, [`placement`] picks a CPU for a
//! waker, [`runstate`] keeps the books, [`timer`] orders deadlines. Around them:
//!
//! ```text
//!   an event ─▶ wake ──▶ enqueue ─▶ raise(Schedule) ── interrupt ─┐
//!   pause, down, destroy ─▶ settle ─▶ raise(Schedule) ────────────┤
//!   timer interrupt ─▶ raise(Timer) ─▶ alarm::run ────────────────┤
//!                                                                 ▼
//!   every way out of the core: next_to_run ─▶ schedule ─▶ arch::context::switch
//! ```
//!
//! The scheduler is tickless: a CPU is interrupted at the end of a slice only if somebody waits
//! for it, and at the next deadline of a vCPU that lives there.

mod alarm;
mod balance;
mod dispatch;
pub mod fair;
mod machine;
mod pause;
mod percpu;
pub mod placement;
mod poll;
mod run_loop;
pub mod runqueue;
pub mod runstate;
mod runstate_area;
mod share;
pub mod timer;
mod vcpu;
mod wake;

#[cfg(test)]
mod simulation;
#[cfg(test)]
mod tests;

pub use alarm::set_timers;
pub use dispatch::schedule;
pub use pause::{
    bring_up, pause, pause_vcpu, pin_override, resume_domain, retire_domain, set_affinity,
    sleep_sync, stop_domain, take_down, unpause, unpause_vcpu,
};
pub use percpu::{idle_ns, online, trim};
pub use poll::{block, poll};
pub use run_loop::{current, is_quiet, next_to_run, timer_interrupt, with_current, yield_};
pub use runstate_area::{refresh as refresh_runstate, register as register_runstate};
pub use share::{DomainSched, pat_watchdog, set_share, share, start_watchdog};
pub use vcpu::VcpuSched;
pub use wake::{kick, wake};
