"""The processing role: takes jobs, runs each in a sandboxed child process, keeps the books."""
