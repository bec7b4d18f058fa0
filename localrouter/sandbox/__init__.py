"""Child processes for untrusted programs, chat templates and grammars, with limits that the kernel enforces."""
