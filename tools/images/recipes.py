"""What each test image is made of: data only.

A recipe names its parent, the Debian packages put on top of it, files of our own, and the image config that users of the
well-known image of that name expect (command, ports, volumes). Whatever changes here gives the image a new content key.
"""

from dataclasses import dataclass, field

PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


@dataclass(frozen=True)
class Recipe:
    name: str
    parent: str | None = None
    packages: tuple[str, ...] = ()
    files: dict[str, tuple[int, str]] = field(default_factory=dict)  # path -> (mode, text)
    links: dict[str, str] = field(default_factory=dict)  # path -> target
    commands: tuple[str, ...] = ()  # shell lines run inside the tree after the packages
    config: dict[str, object] = field(default_factory=dict)

    @property
    def tag(self) -> str:
        return f"{self.name}:latest"


MARIADB_ENTRY = """\
#!/bin/sh
# Initialises the data directory once, then runs the server given as arguments in the foreground.
set -eu
data=/var/lib/mysql
mkdir -p "$data" /run/mysqld
chown mysql:mysql "$data" /run/mysqld
if [ ! -d "$data/mysql" ]; then
  : "${MARIADB_ROOT_PASSWORD:?set MARIADB_ROOT_PASSWORD}"
  mariadb-install-db --user=mysql --datadir="$data" --skip-test-db --auth-root-authentication-method=normal >/dev/null
  {
    echo "FLUSH PRIVILEGES;"
    echo "ALTER USER root@localhost IDENTIFIED BY '$MARIADB_ROOT_PASSWORD';"
    echo "CREATE USER root@'%' IDENTIFIED BY '$MARIADB_ROOT_PASSWORD';"
    echo "GRANT ALL ON *.* TO root@'%' WITH GRANT OPTION;"
    [ -z "${MARIADB_DATABASE:-}" ] || echo "CREATE DATABASE \\`$MARIADB_DATABASE\\`;"
    [ -z "${MARIADB_USER:-}" ] || echo "CREATE USER '$MARIADB_USER'@'%' IDENTIFIED BY '${MARIADB_PASSWORD:-}';"
    [ -z "${MARIADB_USER:-}" ] || [ -z "${MARIADB_DATABASE:-}" ] || echo "GRANT ALL ON \\`$MARIADB_DATABASE\\`.* TO '$MARIADB_USER'@'%';"
  } >/tmp/first.sql
  mariadbd --bootstrap --user=mysql --datadir="$data" </tmp/first.sql 2>/tmp/first.log || { cat /tmp/first.log >&2; exit 1; }
  rm -f /tmp/first.sql /tmp/first.log
fi
exec "$@"
"""

MARIADB_CONF = """\
[mariadbd]
user = mysql
bind-address = 0.0.0.0
socket = /run/mysqld/mysqld.sock
skip-name-resolve
innodb_buffer_pool_size = 32M
[client]
socket = /run/mysqld/mysqld.sock
"""

NGINX_CONF = """\
worker_processes 1;
error_log /dev/stderr notice;
pid /tmp/nginx.pid;
events { worker_connections 256; }
http {
  include /etc/nginx/mime.types;
  access_log /dev/stdout;
  client_body_temp_path /tmp/nginx-body;
  proxy_temp_path /tmp/nginx-proxy;
  fastcgi_temp_path /tmp/nginx-fastcgi;
  uwsgi_temp_path /tmp/nginx-uwsgi;
  scgi_temp_path /tmp/nginx-scgi;
  server { listen 80; listen [::]:80; root /usr/share/nginx/html; }
}
"""

REDIS_CONF = """\
bind * -::*
protected-mode no
dir /data
daemonize no
logfile ""
"""

BUSYBOX = Recipe(
    name="busybox",
    files={
        "etc/passwd": (0o644, "root:x:0:0:root:/root:/bin/sh\ndaemon:x:1:1:daemon:/usr/sbin:/bin/false\n"
                              "www-data:x:33:33:www-data:/var/www:/bin/false\nnobody:x:65534:65534:nobody:/home:/bin/false\n"),
        "etc/group": (0o644, "root:x:0:\ndaemon:x:1:\ntty:x:5:\naudio:x:29:daemon\nwww-data:x:33:\nnogroup:x:65534:\n"),
        "etc/shadow": (0o640, "root:*:19000:0:99999:7:::\n"),
        "etc/nsswitch.conf": (0o644, "passwd: files\ngroup: files\nhosts: files dns\n"),
    },
    config={"Env": [PATH], "Cmd": ["sh"]},
)

DEBIAN = Recipe(
    name="debian",
    packages=("python3-minimal", "libpython3-stdlib", "ca-certificates"),
    config={"Env": [PATH], "Cmd": ["bash"]},
)

NGINX = Recipe(
    name="nginx", parent="debian", packages=("nginx-light",),
    files={"etc/nginx/nginx.conf": (0o644, NGINX_CONF),
           "usr/share/nginx/html/index.html": (0o644, "<!doctype html><title>nginx</title><h1>Welcome to nginx!</h1>\n")},
    links={"var/log/nginx/access.log": "/dev/stdout", "var/log/nginx/error.log": "/dev/stderr"},
    config={"Env": [PATH], "Cmd": ["nginx", "-g", "daemon off;"], "ExposedPorts": {"80/tcp": {}}, "StopSignal": "SIGQUIT"},
)

REDIS = Recipe(
    name="redis", parent="debian", packages=("redis-server",),
    files={"etc/redis/redis.conf": (0o644, REDIS_CONF)},
    commands=("mkdir -p /data && chown redis:redis /data",),
    config={"Env": [PATH], "Cmd": ["redis-server", "/etc/redis/redis.conf"], "ExposedPorts": {"6379/tcp": {}},
            "Volumes": {"/data": {}}, "WorkingDir": "/data", "User": "redis"},
)

MARIADB = Recipe(
    name="mariadb", parent="debian", packages=("mariadb-server",),
    files={"usr/local/bin/entrypoint": (0o755, MARIADB_ENTRY), "etc/mysql/mariadb.conf.d/99-container.cnf": (0o644, MARIADB_CONF)},
    commands=("rm -rf /var/lib/mysql/* && chown mysql:mysql /var/lib/mysql",),
    config={"Env": [PATH], "Entrypoint": ["entrypoint"], "Cmd": ["mariadbd"], "ExposedPorts": {"3306/tcp": {}},
            "Volumes": {"/var/lib/mysql": {}}},
)

RECIPES = {recipe.name: recipe for recipe in (BUSYBOX, DEBIAN, NGINX, REDIS, MARIADB)}
