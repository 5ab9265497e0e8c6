//! A host that only answers questions: each effect is refused, by one list of them.

use std::path::Path;

use agxpatch_core::error::{Code, Error};

/// The effects of [`Host`](crate::Host), all refused.
macro_rules! refuse_effects {
    () => {
        fn create_directory(
            &self,
            path: &std::path::Path,
            _: u32,
        ) -> agxpatch_core::error::Result<()> {
            Err($crate::recording::read_only::refused_at(path))
        }

        fn write_new(
            &self,
            path: &std::path::Path,
            _: &[u8],
            _: u32,
        ) -> agxpatch_core::error::Result<()> {
            Err($crate::recording::read_only::refused_at(path))
        }

        fn append(&self, path: &std::path::Path, _: &[u8]) -> agxpatch_core::error::Result<()> {
            Err($crate::recording::read_only::refused_at(path))
        }

        fn sync_file(&self, path: &std::path::Path) -> agxpatch_core::error::Result<()> {
            Err($crate::recording::read_only::refused_at(path))
        }

        fn sync_directory(&self, path: &std::path::Path) -> agxpatch_core::error::Result<()> {
            Err($crate::recording::read_only::refused_at(path))
        }

        fn rename(
            &self,
            from: &std::path::Path,
            _: &std::path::Path,
        ) -> agxpatch_core::error::Result<()> {
            Err($crate::recording::read_only::refused_at(from))
        }

        fn set_mode(&self, path: &std::path::Path, _: u32) -> agxpatch_core::error::Result<()> {
            Err($crate::recording::read_only::refused_at(path))
        }

        fn set_owner(
            &self,
            path: &std::path::Path,
            _: u32,
            _: u32,
        ) -> agxpatch_core::error::Result<()> {
            Err($crate::recording::read_only::refused_at(path))
        }

        fn remove_file(&self, path: &std::path::Path) -> agxpatch_core::error::Result<()> {
            Err($crate::recording::read_only::refused_at(path))
        }

        fn remove_directory(&self, path: &std::path::Path) -> agxpatch_core::error::Result<()> {
            Err($crate::recording::read_only::refused_at(path))
        }

        fn lock(&self, path: &std::path::Path) -> agxpatch_core::error::Result<$crate::Lock> {
            Err($crate::recording::read_only::refused_at(path))
        }
    };
}

/// The refusal of an effect.
pub fn refused(effect: &str) -> Error {
    Error::new(Code::ReplayOnly, "a recorded Mac only answers questions")
        .with("effect", effect)
        .next("run this on the Mac itself, without --replay")
}

/// The refusal of an effect at a path.
pub(super) fn refused_at(path: &Path) -> Error {
    refused(&path.display().to_string())
}
