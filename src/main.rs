//! The `agxpatch` program: everything is in the library.

fn main() -> agxpatch::exit::Exit {
    agxpatch::cli::main()
}
