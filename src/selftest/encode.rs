//! Empty encoders on a Metal device, as a program makes them, so that the guard and the driver have
//! something to do.
//!
//! Two of each kind follow each other on one command buffer: the driver may coalesce the second
//! with the first, and asks beforehand whether it may. They encode nothing, so the GPU has next to
//! nothing to do. Objective-C is reached by its one function for sending messages, which is found
//! by name: this program is not linked with Metal.

use std::ffi::{CStr, c_void};

/// An Objective-C object, or nil.
pub(super) type Object = *mut c_void;

/// The selectors that make encoders, each used twice.
const FACTORIES: [&CStr; 2] = [c"computeCommandEncoder", c"blitCommandEncoder"];

/// Makes the encoders with `send`, commits them and waits.
///
/// # Errors
/// Where one of the objects is nil, its name.
pub(super) fn encode(
    device: Object,
    send: &mut dyn FnMut(Object, &CStr) -> Object,
) -> Result<(), String> {
    let mut made = |from: Object, selector: &CStr| match send(from, selector) {
        object if object.is_null() => Err(format!("Metal has no {}", selector.to_string_lossy())),
        object => Ok(object),
    };
    let queue = made(device, c"newCommandQueue")?;
    let buffer = made(queue, c"commandBuffer")?;
    for factory in FACTORIES {
        for _ in 0..2 {
            let encoder = made(buffer, factory)?;
            // What a method without a result leaves in the register means nothing.
            drop(made(encoder, c"endEncoding"));
        }
    }
    drop(made(buffer, c"commit"));
    drop(made(buffer, c"waitUntilCompleted"));
    Ok(())
}

/// The same through the Objective-C runtime of this process.
///
/// # Errors
/// Those of [`encode`], and where the runtime is not there.
///
/// # Safety
/// `device` is a Metal device.
#[allow(unsafe_code)]
pub(super) unsafe fn encode_here(device: Object) -> Result<(), String> {
    type Send = unsafe extern "C" fn(Object, *const c_void) -> Object;
    type Register = unsafe extern "C" fn(*const libc::c_char) -> *const c_void;
    // SAFETY: the names are C strings.
    let (send, register) = unsafe {
        (
            libc::dlsym(libc::RTLD_DEFAULT, c"objc_msgSend".as_ptr()),
            libc::dlsym(libc::RTLD_DEFAULT, c"sel_registerName".as_ptr()),
        )
    };
    if send.is_null() || register.is_null() {
        return Err("this process has no Objective-C runtime".to_owned());
    }
    // SAFETY: by objc/message.h and objc/runtime.h; each message sent takes no argument and answers
    // an object or nothing.
    unsafe {
        let send: Send = std::mem::transmute(send);
        let register: Register = std::mem::transmute(register);
        encode(device, &mut |object, selector| send(object, register(selector.as_ptr())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs [`encode`] against objects that are numbers, and answers what was sent to which.
    fn sent(missing: Option<&CStr>) -> (Result<(), String>, Vec<(usize, String)>) {
        let mut log = Vec::new();
        let result = encode(1 as Object, &mut |object, selector| {
            log.push((object as usize, selector.to_string_lossy().into_owned()));
            if missing == Some(selector) { std::ptr::null_mut() } else { (log.len() + 1) as Object }
        });
        (result, log)
    }

    #[test]
    fn two_encoders_of_each_kind_follow_each_other_and_are_ended_before_the_commit() {
        let (result, log) = sent(None);
        assert_eq!(result, Ok(()));
        let order: Vec<&str> = log.iter().map(|(_, selector)| selector.as_str()).collect();
        let pair = |factory| [factory, "endEncoding", factory, "endEncoding"];
        let expected = [
            &["newCommandQueue", "commandBuffer"][..],
            &pair("computeCommandEncoder"),
            &pair("blitCommandEncoder"),
            &["commit", "waitUntilCompleted"],
        ];
        assert_eq!(order, expected.concat());
        // Each encoder is ended itself, and made by the command buffer.
        for (place, (object, selector)) in log.iter().enumerate() {
            match selector.as_str() {
                "endEncoding" => assert_eq!(*object, place + 1),
                "newCommandQueue" => assert_eq!(*object, 1),
                "commandBuffer" => assert_eq!(*object, 2),
                _ => assert_eq!(*object, 3),
            }
        }
    }

    #[test]
    fn an_encoder_that_is_nil_is_an_error_and_nothing_is_committed() {
        let (result, log) = sent(Some(c"blitCommandEncoder"));
        assert_eq!(result, Err("Metal has no blitCommandEncoder".to_owned()));
        assert!(!log.iter().any(|(_, selector)| selector == "commit"));
    }
}
