//! What the families of events, grants and devices refuse, from domains that may not or with
//! pointers that lead nowhere. (On the fake machine no pointer leads anywhere.)

use guest_abi::errno::Errno;
use guest_abi::ids::VcpuId;

use super::event_channel_op::event_channel_op;
use super::grant_table_op::grant_table_op;
use super::physdev_op::physdev_op;
use super::{Call, Reply, Stop};
use crate::domain::{Domain, VcpuRef};

type Handler = fn(&mut Call<'_>) -> Reply;

fn ask(domain: u16, handler: Handler, args: [u64; 6]) -> Reply {
    let domain = Domain::fake(domain, 1);
    let vcpu = VcpuRef::new(&domain, VcpuId::new(0)).unwrap();
    handler(&mut Call { vcpu: &vcpu, args })
}

const ALL: [Handler; 3] = [event_channel_op, grant_table_op, physdev_op];

fn refused(errno: Errno) -> Reply {
    Err(Stop::Errno(errno))
}

#[test]
fn unknown_commands_are_not_implemented() {
    for handler in ALL {
        for command in [32, 99, u64::from(u32::MAX)] {
            assert_eq!(
                ask(0x4f00, handler, [command, 0, 1, 0, 0, 0]),
                refused(Errno::ENOSYS)
            );
        }
    }
}

#[test]
fn the_fifo_abi_and_grant_version_2_are_not_implemented() {
    for command in [11, 12, 13] {
        assert_eq!(
            ask(0x4f01, event_channel_op, [command, 8, 0, 0, 0, 0]),
            refused(Errno::ENOSYS)
        );
    }
    for command in [3, 4, 7, 9, 11, 12] {
        assert_eq!(
            ask(0x4f01, grant_table_op, [command, 8, 1, 0, 0, 0]),
            refused(Errno::ENOSYS)
        );
    }
}

#[test]
fn wild_pointers_fault_and_change_nothing() {
    for command in 0..=10 {
        let args = [command, 0xffff_8000_0000_0000, 0, 0, 0, 0];
        assert_eq!(ask(0x4f02, event_channel_op, args), refused(Errno::EFAULT));
    }
    for command in [0, 1, 2, 5, 6, 8, 10] {
        let args = [command, u64::MAX - 3, 1, 0, 0, 0];
        assert_eq!(ask(0x4f02, grant_table_op, args), refused(Errno::EFAULT));
    }
}

#[test]
fn an_empty_array_is_no_work_and_a_negative_count_is_refused() {
    for command in [0, 1, 5] {
        assert_eq!(ask(0x4f03, grant_table_op, [command, 0, 0, 0, 0, 0]), Ok(0));
        for count in [1 << 31, u64::MAX] {
            let args = [command, 0, count, 0, 0, 0];
            assert_eq!(ask(0x4f03, grant_table_op, args), refused(Errno::EINVAL));
        }
    }
    for command in [2, 6] {
        assert_eq!(
            ask(0x4f03, grant_table_op, [command, 0, 2, 0, 0, 0]),
            refused(Errno::EINVAL)
        );
    }
}

#[test]
fn ordinary_domains_have_no_devices() {
    for command in (0..32).filter(|command| *command != 6 && *command != 7) {
        let reply = ask(0x4f04, physdev_op, [command, 0, 0, 0, 0, 0]);
        let known = guest_abi::physdev::PhysdevOp::from_register(command).is_some();
        let expected = if known { Errno::EPERM } else { Errno::ENOSYS };
        assert_eq!(reply, refused(expected), "{command}");
    }
    for command in [6, 7] {
        assert_eq!(
            ask(0x4f04, physdev_op, [command, 0, 0, 0, 0, 0]),
            refused(Errno::EFAULT)
        );
    }
}
