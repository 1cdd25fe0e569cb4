"""What runs inside: from a freshly cloned process to the user's program. Standard library only, and light."""

from wherry.init.container import container_main
from wherry.init.exec import exec_main

__all__ = ["container_main", "exec_main"]
