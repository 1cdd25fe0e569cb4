"""What runs inside: from a freshly cloned process to the user's program. Standard library only, and light."""
