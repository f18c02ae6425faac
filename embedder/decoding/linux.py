"""What Linux offers a process that gives up its rights for good: namespaces, Landlock, seccomp.

Through ctypes, for these are a handful of system calls with small structures, and every worker
loads this module. Sources: `linux/landlock.h`, `linux/seccomp.h`, `linux/filter.h`,
`linux/audit.h`, unshare(2), landlock(7), seccomp(2) and the tables of system calls of Linux 6.18.
Nothing here works elsewhere: each function raises OSError.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import struct
import sys
from collections.abc import Mapping
from types import MappingProxyType

IS_LINUX = sys.platform == "linux"

_CLONE_NEWNET, _CLONE_NEWIPC, _CLONE_NEWUSER = 0x40000000, 0x08000000, 0x10000000
_CLONE_THREAD = 0x00010000
_PR_SET_PDEATHSIG, _PR_SET_NO_NEW_PRIVS, _PR_SET_SECCOMP = 1, 38, 22
_SECCOMP_MODE_FILTER = 2
_PROT_EXEC = 4
# The same numbers on every architecture (asm-generic since Linux 5.13).
_LANDLOCK_CREATE_RULESET, _LANDLOCK_RESTRICT_SELF = 444, 446
_LANDLOCK_CREATE_RULESET_VERSION = 1
# How many rights over files each version of Landlock handles, from version 1 on; a later version
# handles at least as many as the last one here.
_FILE_RIGHTS = (13, 14, 15, 15, 16)
_TCP_RIGHTS_FROM, _SCOPES_FROM = 4, 6  # versions
_BIND_AND_CONNECT_TCP, _ABSTRACT_SOCKETS_AND_SIGNALS = 0b11, 0b11

# Codes of classic BPF: load a word, compare, return.
_LOAD, _EQUAL, _AT_LEAST, _ANY_BIT, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_KILL, _ERRNO, _ALLOW = 0x80000000, 0x00050000, 0x7FFF0000
# Offsets in `struct seccomp_data`; the lower half of an argument comes first (little endian).
_NUMBER, _ARCHITECTURE, _ARGUMENTS = 0, 4, 16
_X32 = 0x40000000  # the bit of the other interface of x86-64

# The system calls that decoding makes once everything is loaded and opened. None of them opens,
# connects, starts, signals or looks at anything.
_ALLOWED: tuple[str, ...] = (
    *("read", "write", "close", "fstat", "lseek", "pread64", "pwrite64"),
    *("munmap", "brk", "mremap", "madvise"),
    *("rt_sigaction", "rt_sigprocmask", "rt_sigreturn", "sigaltstack", "restart_syscall"),
    *("sched_yield", "sched_getaffinity", "futex", "set_robust_list", "rseq", "membarrier"),
    *("nanosleep", "clock_nanosleep", "clock_gettime", "clock_getres", "gettimeofday"),
    *("setitimer", "getpid", "gettid", "getrusage", "sysinfo", "getrandom", "exit", "exit_group"),
)
_X86_64: Mapping[str, int] = MappingProxyType(
    {
        "read": 0, "write": 1, "close": 3, "fstat": 5, "lseek": 8, "mmap": 9, "mprotect": 10,
        "munmap": 11, "brk": 12, "rt_sigaction": 13, "rt_sigprocmask": 14, "rt_sigreturn": 15,
        "pread64": 17, "pwrite64": 18, "sched_yield": 24, "mremap": 25, "madvise": 28,
        "nanosleep": 35, "setitimer": 38, "getpid": 39, "clone": 56, "exit": 60,
        "gettimeofday": 96, "getrusage": 98, "sysinfo": 99, "sigaltstack": 131, "gettid": 186,
        "futex": 202, "sched_getaffinity": 204, "restart_syscall": 219, "clock_gettime": 228,
        "clock_getres": 229, "clock_nanosleep": 230, "exit_group": 231, "tgkill": 234,
        "set_robust_list": 273, "getrandom": 318, "membarrier": 324, "rseq": 334, "clone3": 435,
    }
)  # fmt: skip
_AARCH64: Mapping[str, int] = MappingProxyType(
    {
        "close": 57, "lseek": 62, "read": 63, "write": 64, "pread64": 67, "pwrite64": 68,
        "fstat": 80, "exit": 93, "exit_group": 94, "futex": 98, "set_robust_list": 99,
        "nanosleep": 101, "setitimer": 103, "clock_gettime": 113, "clock_getres": 114,
        "clock_nanosleep": 115, "sched_getaffinity": 123, "sched_yield": 124,
        "restart_syscall": 128, "tgkill": 131, "sigaltstack": 132, "rt_sigaction": 134,
        "rt_sigprocmask": 135, "rt_sigreturn": 139, "getrusage": 165, "gettimeofday": 169,
        "getpid": 172, "gettid": 178, "sysinfo": 179, "brk": 214, "munmap": 215, "mremap": 216,
        "clone": 220, "mmap": 222, "mprotect": 226, "madvise": 233, "getrandom": 278,
        "membarrier": 283, "rseq": 293, "clone3": 435,
    }
)  # fmt: skip
# AUDIT_ARCH_* and the numbers of system calls, by `platform.machine()`.
_MACHINES: Mapping[str, tuple[int, Mapping[str, int]]] = MappingProxyType(
    {"x86_64": (0xC000003E, _X86_64), "aarch64": (0xC00000B7, _AARCH64)}
)


class _RulesetAttributes(ctypes.Structure):
    _fields_ = (
        ("handled_access_fs", ctypes.c_uint64),
        ("handled_access_net", ctypes.c_uint64),
        ("scoped", ctypes.c_uint64),
    )


class _FilterProgram(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("instructions", ctypes.c_char_p))


def die_with_parent(parent: int) -> None:
    """Have the kernel kill this process once the thread that started it ends.

    `parent` is the process that started this one. Raises OSError, also where it ended already.
    """
    _call("prctl", _PR_SET_PDEATHSIG, 9, 0, 0, 0)
    if os.getppid() != parent:
        raise ProcessLookupError(errno.ESRCH, "the process that started this one has ended")


def leave_network() -> None:
    """Move this process, which must have one thread, into namespaces without a network.

    Raises OSError where unprivileged users may not do so.
    """
    _call("unshare", _CLONE_NEWUSER | _CLONE_NEWNET | _CLONE_NEWIPC)


def give_up_files() -> int:
    """Give up every right over files, and, as far as this kernel knows how, TCP, abstract sockets
    and signals to others. Files that are open stay so.

    Returns the version of Landlock. Raises OSError.
    """
    version = _landlock(None, 0, _LANDLOCK_CREATE_RULESET_VERSION)
    attributes = _RulesetAttributes(
        (1 << _FILE_RIGHTS[min(version, len(_FILE_RIGHTS)) - 1]) - 1,
        _BIND_AND_CONNECT_TCP if version >= _TCP_RIGHTS_FROM else 0,
        _ABSTRACT_SOCKETS_AND_SIGNALS if version >= _SCOPES_FROM else 0,
    )
    # An older kernel refuses a structure that is longer than its own, unless the rest is zero.
    ruleset = _landlock(ctypes.byref(attributes), ctypes.sizeof(attributes), 0)
    try:
        _forbid_new_rights()
        _call("syscall", _LANDLOCK_RESTRICT_SELF, ruleset, 0)
    finally:
        os.close(ruleset)
    return version


def filter_system_calls() -> None:
    """Have the kernel refuse this process every system call that decoding does not need.

    Raises OSError, also on an architecture whose numbers are not listed here.
    """
    program = _build_filter(platform.machine(), os.getpid())
    _forbid_new_rights()
    described = _FilterProgram(len(program) // 8, program)
    _call("prctl", _PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, ctypes.byref(described), 0, 0)


def _build_filter(machine: str, process: int) -> bytes:
    """Return the program: what is not allowed is EPERM, another architecture's call kills."""
    if machine not in _MACHINES:
        raise OSError(errno.ENOSYS, f"the system calls of {machine} are not listed")
    architecture, numbers = _MACHINES[machine]
    refuse = _instruction(_RETURN, _ERRNO | errno.EPERM)
    allow = _instruction(_RETURN, _ALLOW)
    program = [
        _instruction(_LOAD, _ARCHITECTURE),
        _instruction(_EQUAL, architecture, skip_if_true=1),
        _instruction(_RETURN, _KILL),
        _instruction(_LOAD, _NUMBER),
        _instruction(_AT_LEAST, _X32, skip_if_false=1),
        refuse,
    ]
    for name in _ALLOWED:
        program += [_instruction(_EQUAL, numbers[name], skip_if_false=1), allow]
    # Memory, but never with code in it.
    for name in ("mmap", "mprotect"):
        program += [
            _instruction(_EQUAL, numbers[name], skip_if_false=4),
            _instruction(_LOAD, _argument(2)),
            _instruction(_ANY_BIT, _PROT_EXEC, skip_if_false=1),
            refuse,
            allow,
        ]
    # A signal to this process, as abort(3) sends it.
    program += [
        _instruction(_EQUAL, numbers["tgkill"], skip_if_false=4),
        _instruction(_LOAD, _argument(0)),
        _instruction(_EQUAL, process, skip_if_false=1),
        allow,
        refuse,
    ]
    # A thread, but no process. The flags of clone3 lie in memory, where no filter can read them;
    # without clone3, libc takes clone.
    program += [
        _instruction(_EQUAL, numbers["clone3"], skip_if_false=1),
        _instruction(_RETURN, _ERRNO | errno.ENOSYS),
        _instruction(_EQUAL, numbers["clone"], skip_if_false=3),
        _instruction(_LOAD, _argument(0)),
        _instruction(_ANY_BIT, _CLONE_THREAD, skip_if_false=1),
        allow,
        refuse,
    ]
    return b"".join(program)


def _instruction(code: int, value: int, *, skip_if_true: int = 0, skip_if_false: int = 0) -> bytes:
    return struct.pack("=HBBI", code, skip_if_true, skip_if_false, value)


def _argument(number: int) -> int:
    return _ARGUMENTS + 8 * number


def _forbid_new_rights() -> None:
    """No program that this process might start has more rights; both confinements need it."""
    _call("prctl", _PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)


def _landlock(attributes: object, size: int, flags: int) -> int:
    return _call("syscall", _LANDLOCK_CREATE_RULESET, attributes, size, flags)


def _call(name: str, *arguments: object) -> int:
    if not IS_LINUX:
        raise OSError(errno.ENOSYS, "not Linux")
    function = getattr(ctypes.CDLL(None, use_errno=True), name)
    function.restype = ctypes.c_long
    passed = [ctypes.c_long(each) if isinstance(each, int) else each for each in arguments]
    result = int(function(*passed))
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return result
