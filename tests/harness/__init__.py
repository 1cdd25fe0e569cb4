"""What end-to-end and security tests share: a private daemon, both clients, a pty, and a snapshot of the host."""
