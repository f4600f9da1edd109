"""Django's settings. Everything that differs between installations comes from the environment:

GANTRY_HOME, GANTRY_LISTEN, GANTRY_GATEWAY_LISTEN, GANTRY_PUBLIC_URL, GANTRY_GATEWAY_URLS, GANTRY_TLS_CERT,
GANTRY_TLS_KEY, GANTRY_ALLOWED_HOSTS, GANTRY_DEBUG, GANTRY_SCRATCH, GANTRY_GIT_NETWORKS, GANTRY_RECORDINGS_DAYS,
GANTRY_RECORDINGS_BYTES, GANTRY_RECORDINGS_MOST, GANTRY_RECORDINGS_RESERVE, GANTRY_RECORDINGS_INPUT,
GANTRY_RECORDINGS_REQUIRED, GANTRY_SYSLOG, REDIS_URL, DATABASE_URL; GANTRY_OIDC_…, which are in
controlplane/lib/providers.py.
"""

from __future__ import annotations

import os
from pathlib import Path
from tempfile import gettempdir
from typing import Any
from urllib.parse import unquote, urlsplit

from csp.constants import NONE, SELF
from redis.asyncio.retry import Retry
from redis.backoff import ExponentialBackoff

from controlplane.lib import providers
from controlplane.lib.home import gantry_home, private_folder, run_folder, secret_key, web_origin, whole_number
from controlplane.lib.syslog_target import parse as syslog_target

BASE_DIR = Path(__file__).resolve().parent.parent
VERSION = "0.1.0"

GANTRY_HOME = private_folder(gantry_home())
RUN_DIR = private_folder(run_folder(GANTRY_HOME))
HOSTS_DIR = private_folder(RUN_DIR / "hosts")

UPLOADS_DIR = private_folder(GANTRY_HOME / "uploads")
# Where git checks out what is built. Not below GANTRY_HOME, into which the user that runs git may not look.
SCRATCH_DIR = os.environ.get("GANTRY_SCRATCH") or ("/var/tmp" if os.access("/var/tmp", os.W_OK) else gettempdir())
# Networks that builds may fetch from although they are this machine's own or link-local (images/builds/addresses.py).
GIT_NETWORKS = [each for each in os.environ.get("GANTRY_GIT_NETWORKS", "").split(",") if each]

# Recorded terminals (docs/recordings.md): how long and how much of them is kept, in days and bytes; bytes of one; bytes
# that the disk must have left; whether keys are recorded, which takes in passwords; whether a shell that cannot be
# recorded is refused.
RECORDINGS_DIR = private_folder(GANTRY_HOME / "recordings")
RECORDINGS_DAYS = whole_number("GANTRY_RECORDINGS_DAYS", 90, least=1)
RECORDINGS_BYTES = whole_number("GANTRY_RECORDINGS_BYTES", 20_000_000_000)
RECORDINGS_MOST = whole_number("GANTRY_RECORDINGS_MOST", 64_000_000, least=100_000)
RECORDINGS_RESERVE = whole_number("GANTRY_RECORDINGS_RESERVE", 500_000_000)
RECORDINGS_INPUT = os.environ.get("GANTRY_RECORDINGS_INPUT") == "1"
RECORDINGS_REQUIRED = os.environ.get("GANTRY_RECORDINGS_REQUIRED") == "1"

SECRET_KEY = secret_key(GANTRY_HOME)
DEBUG = os.environ.get("GANTRY_DEBUG") == "1"

# Where the audit trail is sent as it grows: udp://, tcp://, tls://HOST[:PORT] or unix:///PATH (docs/audit.md).
SYSLOG = syslog_target(os.environ.get("GANTRY_SYSLOG", ""))

# --- Addresses ------------------------------------------------------------------------------------
GANTRY_LISTEN = os.environ.get("GANTRY_LISTEN", "127.0.0.1:8420")
_listen_host, _, _listen_port = GANTRY_LISTEN.rpartition(":")
GANTRY_GATEWAY_LISTEN = os.environ.get("GANTRY_GATEWAY_LISTEN", f"{_listen_host}:{int(_listen_port) + 1}")
TLS_CERT = os.environ.get("GANTRY_TLS_CERT", "")
TLS_KEY = os.environ.get("GANTRY_TLS_KEY", "")
TLS = bool(TLS_CERT)
# The address people and hosts use, when it is not the one listened on (a proxy in front).
PUBLIC_URL = web_origin("GANTRY_PUBLIC_URL")
# Addresses of the gateways as hosts reach them; empty: the web's host name with the gateway's port.
GATEWAY_URLS = [url for url in os.environ.get("GANTRY_GATEWAY_URLS", "").split(",") if url]

# A listener on the wildcard address cannot know its names; the cookie, CSRF and Origin checks compare with
# the Host header. GANTRY_ALLOWED_HOSTS narrows it.
_allowed = os.environ.get("GANTRY_ALLOWED_HOSTS", "")
if _allowed:
    ALLOWED_HOSTS = [name.strip() for name in _allowed.split(",") if name.strip()]
elif _listen_host in ("127.0.0.1", "::1", "[::1]", "localhost"):
    ALLOWED_HOSTS = ["127.0.0.1", "localhost", "[::1]"]
else:
    ALLOWED_HOSTS = ["*"]
if PUBLIC_URL and "*" not in ALLOWED_HOSTS:
    ALLOWED_HOSTS.append(urlsplit(PUBLIC_URL).hostname or "")
CSRF_TRUSTED_ORIGINS = [PUBLIC_URL] if PUBLIC_URL else []

# --- Apps -----------------------------------------------------------------------------------------
INSTALLED_APPS = [
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "django.contrib.humanize",
    "channels",
    "django_htmx",
    "template_partials.apps.SimpleAppConfig",  # loaders are named below: the apps' own set-ups undo one another
    "django_cotton.apps.SimpleAppConfig",
    "django_filters",
    "csp",
    "allauth",
    "allauth.account",
    "allauth.socialaccount",
    "allauth.mfa",
    "controlplane.access",
    "controlplane.operations",
    "hosts",
    "hosts.rules",
    "images",
    "images.builds",
    "containers",
    "controlplane.api",
    "controlplane.people.oidc",
    "controlplane",
]

MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "csp.middleware.CSPMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "controlplane.access.middleware.SessionsNoted",
    "django.contrib.auth.middleware.LoginRequiredMiddleware",
    "controlplane.operations.middleware.SecondFactorRequired",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django_htmx.middleware.HtmxMiddleware",
    "allauth.account.middleware.AccountMiddleware",
    "controlplane.operations.middleware.ExplainErrors",
]

ROOT_URLCONF = "controlplane.urls"
ASGI_APPLICATION = "controlplane.asgi.application"

LOADERS = [
    "django_cotton.cotton_loader.Loader",
    "django.template.loaders.filesystem.Loader",
    "django.template.loaders.app_directories.Loader",
]
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "OPTIONS": {
            "loaders": [("template_partials.loader.Loader", [("django.template.loaders.cached.Loader", LOADERS)])],
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
                "controlplane.lib.context.shell",
                "controlplane.granting.context.managing",
            ],
            "builtins": [
                "controlplane.lib.templatetags.gantry",
                "django.templatetags.static",
                "django_cotton.templatetags.cotton",
                "template_partials.templatetags.partials",
            ],
        },
    }
]

# --- Database -------------------------------------------------------------------------------------
DATABASE_URL = os.environ.get("DATABASE_URL", "")


def _database() -> dict[str, Any]:
    if not DATABASE_URL:
        return {
            "ENGINE": "django.db.backends.sqlite3",
            "NAME": GANTRY_HOME / "gantry.sqlite3",
            "OPTIONS": {
                # IMMEDIATE takes the write lock at BEGIN, where the busy timeout applies; a deferred
                # transaction that upgrades fails at once with "database is locked".
                "transaction_mode": "IMMEDIATE",
                "timeout": 20,
                "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL; PRAGMA busy_timeout=20000;",
            },
        }
    url = urlsplit(DATABASE_URL)
    if url.scheme not in ("postgres", "postgresql"):
        raise ValueError(f"DATABASE_URL: expected postgresql://…, found {url.scheme}://…")
    return {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": unquote(url.path.lstrip("/")),
        "USER": unquote(url.username or ""),
        "PASSWORD": unquote(url.password or ""),
        "HOST": unquote(url.hostname or ""),  # %2Frun%2Fpostgresql: a socket
        "PORT": str(url.port or ""),
        "CONN_HEALTH_CHECKS": True,
    }


DATABASES = {"default": _database()}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

# --- Redis: broker, channel layer, cache, leases -------------------------------------------------
REDIS_URL = os.environ.get("REDIS_URL") or f"unix://{RUN_DIR}/redis.sock?db=0"


def _broker(url: str) -> str:
    """Celery spells a unix socket redis+socket:///path?virtual_host=N."""
    if not url.startswith("unix://"):
        return url
    path, _, query = url.removeprefix("unix://").partition("?")
    number = dict(pair.split("=", 1) for pair in query.split("&") if "=" in pair).get("db", "0")
    return f"redis+socket://{path}?virtual_host={number}"


# After a restart of Redis the first use of an old connection fails: without another try it would cost a live
# fact, or a page its socket.
_retry = Retry(ExponentialBackoff(cap=0.2, base=0.05), retries=2)
CHANNEL_LAYERS = {
    "default": {
        "BACKEND": "channels_redis.pubsub.RedisPubSubChannelLayer",
        "CONFIG": {"hosts": [{"address": REDIS_URL, "retry": _retry}], "prefix": "gantry"},
    }
}
CACHES = {
    "default": {
        "BACKEND": "django.core.cache.backends.redis.RedisCache",
        "LOCATION": REDIS_URL,
        "OPTIONS": {"socket_timeout": 2, "socket_connect_timeout": 2},  # seconds: a page waits no longer for it
    }
}
SESSION_ENGINE = "django.contrib.sessions.backends.db"

CELERY_BROKER_URL = _broker(REDIS_URL)
# A page must not hang on a broker that is away: its operation is in the database, the sweeper hands it out.
CELERY_BROKER_TRANSPORT_OPTIONS = {
    "max_retries": 1,
    "interval_start": 0,
    "interval_step": 0.1,
    "connect_retries_timeout": 0.5,
}
CELERY_TASK_IGNORE_RESULT = True
CELERY_TASK_SERIALIZER = "json"
CELERY_ACCEPT_CONTENT = ["json"]
CELERY_WORKER_PREFETCH_MULTIPLIER = 1
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
CELERY_BROKER_CONNECTION_MAX_RETRIES = None
CELERY_WORKER_CANCEL_LONG_RUNNING_TASKS_ON_CONNECTION_LOSS = False
CELERY_WORKER_HIJACK_ROOT_LOGGER = False
CELERY_TIMEZONE = "UTC"
CELERY_BEAT_SCHEDULE = {
    "operations-sweep": {"task": "operations.sweep", "schedule": 5.0, "options": {"expires": 5}},
    "operations-prune": {"task": "operations.prune", "schedule": 3600.0, "options": {"expires": 600}},
    "recordings-sweep": {"task": "recordings.sweep", "schedule": 30.0, "options": {"expires": 30}},
    "recordings-prune": {"task": "recordings.prune", "schedule": 600.0, "options": {"expires": 600}},
    "audit-anchor": {"task": "operations.anchor_audit", "schedule": 60.0, "options": {"expires": 60}},
    "builds-due": {"task": "builds.start_due", "schedule": 20.0, "options": {"expires": 20}},
    "builds-bases": {"task": "builds.look_at_bases", "schedule": 300.0, "options": {"expires": 300}},
    "api-prune": {"task": "api.prune", "schedule": 3600.0, "options": {"expires": 600}},
    "builds-sweep": {"task": "builds.sweep", "schedule": 3600.0, "options": {"expires": 600}},
}

if SYSLOG:
    CELERY_BEAT_SCHEDULE["audit-syslog"] = {
        "task": "operations.send_audit",
        "schedule": 5.0,
        "options": {"expires": 5},
    }

# --- People ---------------------------------------------------------------------------------------
AUTH_USER_MODEL = "access.User"
AUTHENTICATION_BACKENDS = ["controlplane.access.backend.People"]
LOGIN_URL = "account_login"
LOGIN_REDIRECT_URL = "overview"
LOGOUT_REDIRECT_URL = "account_login"
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.UserAttributeSimilarityValidator"},
    {
        "NAME": "django.contrib.auth.password_validation.MinimumLengthValidator",
        "OPTIONS": {"min_length": 10},
    },
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
]

# allauth leads through the steps of a sign-in and keeps the second factors; the pages are ours (controlplane/people).
ACCOUNT_ADAPTER = "controlplane.people.adapters.Accounts"
ACCOUNT_LOGIN_METHODS = {"username"}
ACCOUNT_EMAIL_VERIFICATION = "none"
ACCOUNT_UNIQUE_EMAIL = False  # an address is only shown: it is neither a name to sign in with nor a proof of anything
ACCOUNT_RATE_LIMITS: bool = False  # lib.throttle counts, atomically, and lets people in while Redis is away
MFA_ADAPTER = "controlplane.people.adapters.Factors"
MFA_SUPPORTED_TYPES = ["totp", "webauthn", "recovery_codes"]
MFA_FORMS = {
    "authenticate": "controlplane.people.factor_forms.CodeForm",
    "authenticate_webauthn": "controlplane.people.factor_forms.PasskeyForm",
    "login_webauthn": "controlplane.people.factor_forms.PasskeySignInForm",
    "add_webauthn": "controlplane.people.factor_forms.AddPasskeyForm",
}
MFA_TOTP_TOLERANCE = 1  # half a minute that a clock may be off, either way
MFA_PASSKEY_LOGIN_ENABLED = True
MFA_RECOVERY_CODES_SHOW_ONCE = True
MFA_ALLOW_UNVERIFIED_EMAIL = True
MFA_RATE_LIMITS: bool = False
SOCIALACCOUNT_ADAPTER = "controlplane.people.adapters.Identities"
SOCIALACCOUNT_EMAIL_AUTHENTICATION = False  # the same address is not the same person
SOCIALACCOUNT_REQUESTS_TIMEOUT = 5  # seconds
SOCIALACCOUNT_PROVIDERS = {"oidc": {"APPS": [each.as_app() for each in providers.from_environment(os.environ)]}}

SESSION_COOKIE_NAME = "gantry_session"
SESSION_COOKIE_SAMESITE = "Lax"
SESSION_COOKIE_SECURE = TLS or PUBLIC_URL.startswith("https://")
SESSION_COOKIE_AGE = 12 * 3600
SESSION_SAVE_EVERY_REQUEST = False
CSRF_COOKIE_NAME = "gantry_csrf"
CSRF_COOKIE_SECURE = SESSION_COOKIE_SECURE
CSRF_COOKIE_HTTPONLY = True  # the page carries the token itself (base.html)
CSRF_COOKIE_SAMESITE = "Lax"
CSRF_FAILURE_VIEW = "controlplane.views.csrf_failed"
SECURE_CROSS_ORIGIN_OPENER_POLICY = "same-origin"
SECURE_REFERRER_POLICY = "same-origin"
X_FRAME_OPTIONS = "DENY"
if PUBLIC_URL.startswith("https://"):
    SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
    # Strict transport binds a name on all its ports. A public address on the usual port is ours alone; on any
    # other name it would cut off whatever containers publish beside us without TLS.
    if urlsplit(PUBLIC_URL).port is None:
        SECURE_HSTS_SECONDS = 365 * 24 * 3600
# What `manage.py check --deploy` would say, and why it is meant so:
SILENCED_SYSTEM_CHECKS = [
    "security.W004",  # strict transport: see above
    "security.W005",  # names below ours are not ours
    "security.W008",  # under TLS nothing listens without it that could redirect
    "security.W021",  # the preload list is for the owner of the name to ask for
]
if not SESSION_COOKIE_SECURE:
    # Without TLS Gantry serves this machine, or a network whose owner wants it so; a Secure cookie would not
    # come back, and nobody could sign in.
    SILENCED_SYSTEM_CHECKS += ["security.W012", "security.W016"]
MESSAGE_STORAGE = "django.contrib.messages.storage.session.SessionStorage"

CONTENT_SECURITY_POLICY = {
    "DIRECTIVES": {
        "default-src": [SELF],
        "img-src": [SELF, "data:"],
        "connect-src": [SELF],
        "object-src": [NONE],
        "base-uri": [NONE],
        "frame-ancestors": [NONE],
        "form-action": [SELF],
    }
}

# --- Pages ----------------------------------------------------------------------------------------
STATIC_URL = "/static/"
STATICFILES_DIRS = [BASE_DIR / "static"]
STATIC_ROOT = GANTRY_HOME / "static"
WHITENOISE_USE_FINDERS = True
WHITENOISE_AUTOREFRESH = DEBUG
WHITENOISE_MAX_AGE = 0 if DEBUG else 60
USE_TZ = True
TIME_ZONE = "UTC"
LANGUAGE_CODE = "en-gb"
USE_I18N = False

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"line": {"()": "controlplane.lib.logs.OneLine", "format": "%(levelname)s %(name)s: %(message)s"}},
    "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "line"}},
    "root": {"handlers": ["stderr"], "level": "INFO"},
    "loggers": {
        "django.request": {"level": "ERROR"},
        # A traceback for each request with a wrong Host header: anybody could fill the log with them.
        "django.security.DisallowedHost": {"level": "CRITICAL"},
        "httpx": {"level": "WARNING"},
    },
}
