//! The process itself: its end, its environment, its locks, clocks and chance.

use anyhow::{Result, bail};

use super::{ENOENT, errno, errno_at};
use crate::emulate::{Cpu, STACK, STACK_SIZE, memory};

pub fn call(cpu: &mut Cpu<'_>, name: &str, a: &[u64; 6]) -> Result<Option<u64>> {
    const ZERO: [&str; 33] = [
        "_signal",
        "_sigaction",
        "_sigaltstack",
        "_sigemptyset",
        "_poll",
        "_getenv",
        "_dlsym",
        "___cxa_atexit",
        "_atexit",
        "__tlv_atexit",
        "_pthread_mutex_init",
        "_pthread_mutex_lock",
        "_pthread_mutex_trylock",
        "_pthread_mutex_unlock",
        "_pthread_mutex_destroy",
        "_pthread_mutexattr_init",
        "_pthread_mutexattr_settype",
        "_pthread_mutexattr_destroy",
        "_pthread_rwlock_rdlock",
        "_pthread_rwlock_wrlock",
        "_pthread_rwlock_unlock",
        "_pthread_cond_init",
        "_pthread_cond_signal",
        "_pthread_cond_broadcast",
        "_pthread_cond_destroy",
        "_pthread_attr_init",
        "_pthread_attr_destroy",
        "_pthread_attr_setstacksize",
        "_pthread_setname_np",
        "_pthread_key_delete",
        "_os_unfair_lock_lock",
        "_os_unfair_lock_unlock",
        "_sched_yield",
    ];
    let name = name.split('$').next().unwrap_or(name);
    if ZERO.contains(&name) {
        return Ok(Some(0));
    }
    Ok(Some(match name {
        "_exit" | "__exit" => {
            cpu.get_data_mut().exit(a[0] as i32);
            0
        }
        "_abort" => {
            let said = String::from_utf8_lossy(&cpu.get_data().written[1]).into_owned();
            bail!("the program gave up: {said}")
        }
        "___error" => errno_at(cpu)?,
        "_getpid" => 1,
        "_pthread_self" => 0x5e1f,
        // Made for a thread that then cannot be had; no thread ever waits on it.
        "_dispatch_semaphore_create" => 1,
        "_dispatch_release" => 0,
        "_pthread_main_np" | "_pthread_mach_thread_np" => 1,
        "_pthread_get_stackaddr_np" => STACK + STACK_SIZE,
        "_pthread_get_stacksize_np" => STACK_SIZE,
        // It ended before its maker could wait for it.
        "_pthread_join" | "_pthread_detach" => 0,
        "_pthread_threadid_np" => {
            memory::put(cpu, a[1], &1u64.to_le_bytes())?;
            0
        }
        "_pthread_key_create" => {
            let keys = &mut cpu.get_data_mut().keys;
            let key = 0x100 + keys.len() as u64;
            keys.insert(key, 0);
            memory::put(cpu, a[0], &key.to_le_bytes())?;
            0
        }
        "_pthread_setspecific" => {
            cpu.get_data_mut().keys.insert(a[0], a[1]);
            0
        }
        "_pthread_getspecific" => cpu.get_data().keys.get(&a[0]).copied().unwrap_or(0),
        // _SC_PAGESIZE and the number of processors.
        "_sysconf" => {
            if a[0] == 29 {
                0x4000
            } else {
                1
            }
        }
        "_sysctl" | "_sysctlbyname" => errno(cpu, ENOENT)?,
        "__NSGetArgc" | "__NSGetArgv" | "__NSGetEnviron" => pointer_to_argument(cpu, name)?,
        "_clock_gettime" => {
            memory::put(cpu, a[1], &[0; 16])?;
            0
        }
        "_mach_absolute_time" | "_clock_gettime_nsec_np" => {
            cpu.get_data_mut().time += 1000;
            cpu.get_data().time
        }
        "_CCRandomGenerateBytes" | "_getentropy" => {
            memory::put(cpu, a[0], &vec![0x55; a[1] as usize])?;
            0
        }
        _ => return Ok(None),
    }))
}

fn pointer_to_argument(cpu: &mut Cpu<'_>, name: &str) -> Result<u64> {
    let (count, values, environment) = cpu.get_data().arguments;
    let value = match name {
        "__NSGetArgc" => count,
        "__NSGetArgv" => values,
        _ => environment,
    };
    let at = memory::allocate(cpu, 8, 16)?;
    memory::put(cpu, at, &value.to_le_bytes())?;
    Ok(at)
}
