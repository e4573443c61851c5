"""All settings. Every value of the environment is read here, through digitalme.env."""

import re
from pathlib import Path
from typing import Any

import django_stubs_ext
import environ

from digitalme import env, sentry

# Django 5.2 does not let every generic class of its own be subscripted; type annotations need it.
django_stubs_ext.monkeypatch()

BASE_DIR = Path(__file__).resolve().parent.parent
# `make run` writes the file; DIGITALME_ENV_FILE names another one, or none if it is empty.
if ENV_FILE := env.text("DIGITALME_ENV_FILE", str(BASE_DIR / ".env")):
    env.load_file(Path(ENV_FILE))
VAR_DIR = Path(env.text("DIGITALME_VAR_DIR", str(BASE_DIR / "var")))

# --- The basics -------------------------------------------------------------------------------

DEBUG = env.flag("DEBUG", False)
SECRET_KEY = env.text("SECRET_KEY")
# The machine's own names always, so that health checks from within reach it.
ALLOWED_HOSTS = [*env.listing("ALLOWED_HOSTS"), "localhost", "127.0.0.1", "[::1]"]
SITE_URL = env.text("SITE_URL", "http://127.0.0.1:8000").rstrip("/")
CSRF_TRUSTED_ORIGINS = env.listing("CSRF_TRUSTED_ORIGINS", SITE_URL)

# --- Keys of the house: names carry KEY, so that Django masks them in error reports -------------

DIGITALME_MASTER_KEYS = env.text("DIGITALME_MASTER_KEYS", "")
DIGITALME_MASTER_KEYS_DIR = env.text("DIGITALME_MASTER_KEYS_DIR", "")
DIGITALME_SEALING_KEY_ID = env.text("DIGITALME_SEALING_KEY_ID", "")
DIGITALME_VAULT_ADDR = env.text("DIGITALME_VAULT_ADDR", "").rstrip("/")
DIGITALME_VAULT_TOKEN = env.text("DIGITALME_VAULT_TOKEN", "")
DIGITALME_VAULT_KEY = env.text("DIGITALME_VAULT_KEY", "digitalme")
DIGITALME_FINGERPRINT_KEY = env.text("DIGITALME_FINGERPRINT_KEY", "")
DIGITALME_AUDIT_KEY = env.text("DIGITALME_AUDIT_KEY", "")
DIGITALME_AUDIT_RETENTION_DAYS = env.number("DIGITALME_AUDIT_RETENTION_DAYS", 90, least=1)
# At least as long as bills may come late, and as the current limits draw on calls.
DIGITALME_USAGE_RETENTION_DAYS = env.number("DIGITALME_USAGE_RETENTION_DAYS", 400, least=62)
DIGITALME_SYSTEM_KEYS = env.by_prefix("DIGITALME_SYSTEM_KEY_")
DIGITALME_OAUTH_SECRETS = env.by_prefix("DIGITALME_OAUTH_")
DIGITALME_UPSTREAMS = env.by_prefix("DIGITALME_UPSTREAM_")
DIGITALME_PROVIDERS_DIR = env.text("DIGITALME_PROVIDERS_DIR", "")
DIGITALME_PRIVATE_HOSTS = frozenset(env.listing("DIGITALME_PRIVATE_HOSTS"))

# --- Applications -----------------------------------------------------------------------------

INSTALLED_APPS = [
    "providers",
    "digitalme.audit",
    "digitalme.notifications",
    "digitalme.accounts",
    "apikeys",
    "quotas",
    "usage",
    "digitalme.gateway",
    "digitalme.forecasts",
    "digitalme.alerts",
    "digitalme.transfer",
    "digitalme.web",
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.humanize",
    "django.contrib.messages",
    "django.contrib.sessions",
    "django.contrib.staticfiles",
    "allauth",
    "allauth.account",
    "allauth.mfa",
    "allauth.usersessions",
    "csp",
    "django_filters",
    "django_htmx",
    "drf_spectacular",
    "drf_spectacular_sidecar",
    "lucide",
    "rest_framework",
    "template_partials",
]

MIDDLEWARE = [
    "digitalme.middleware.request_id",
    "digitalme.middleware.headers",
    "django.middleware.security.SecurityMiddleware",
    "csp.middleware.CSPMiddleware",
    "digitalme.middleware.static",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "allauth.account.middleware.AccountMiddleware",
    "allauth.usersessions.middleware.UserSessionsMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "django_htmx.middleware.HtmxMiddleware",
    "digitalme.middleware.sign_ins",
    "digitalme.middleware.time_zone",
    "digitalme.middleware.errors",
]

ROOT_URLCONF = "digitalme.urls"
ASGI_APPLICATION = "digitalme.asgi.application"

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ],
        },
    }
]

# --- Database, cache, jobs: embedded unless told otherwise ------------------------------------

SERVER_SECONDS = 5  # for a database or cache that does not answer

DATABASES: dict[str, Any] = {
    "default": environ.Env.db_url_config(env.text("DATABASE_URL", "") or f"sqlite:///{VAR_DIR / 'digitalme.sqlite3'}")
}
if DATABASES["default"]["ENGINE"].endswith("sqlite3"):
    DATABASES["default"]["OPTIONS"] = {
        "transaction_mode": "IMMEDIATE",
        "timeout": 20,
        "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL; PRAGMA foreign_keys=ON;",
    }
else:
    DATABASES["default"]["CONN_MAX_AGE"] = env.number("DATABASE_CONN_MAX_AGE", 60)
    DATABASES["default"]["CONN_HEALTH_CHECKS"] = True
    DATABASES["default"].setdefault("OPTIONS", {}).setdefault("connect_timeout", SERVER_SECONDS)
    # Concerns digitalme.database.prepared_cursor alone: Django's own cursors never prepare.
    if env.flag("DATABASE_PREPARED_STATEMENTS", True):
        DATABASES["default"]["OPTIONS"].setdefault("prepare_threshold", 0)

REDIS_URL = env.text("REDIS_URL", "")
CACHES: dict[str, Any] = {"default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}}
if REDIS_URL:
    CACHES["default"] = {
        "BACKEND": "django.core.cache.backends.redis.RedisCache",
        "LOCATION": REDIS_URL,
        "OPTIONS": {"socket_connect_timeout": SERVER_SECONDS, "socket_timeout": SERVER_SECONDS},
    }

CELERY_BROKER_URL = REDIS_URL or "filesystem://localhost"
CELERY_TASK_IGNORE_RESULT = True
CELERY_TASK_SERIALIZER = "json"
CELERY_ACCEPT_CONTENT = ["json"]
CELERY_WORKER_HIJACK_ROOT_LOGGER = False
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
CELERY_BEAT_SCHEDULE_FILENAME = str(VAR_DIR / "beat-schedule")
if REDIS_URL:
    # Whoever asks for a job hears at once that nobody can be asked. The worker's own waiting for a broker is another.
    CELERY_BROKER_TRANSPORT_OPTIONS: dict[str, Any] = {
        "socket_connect_timeout": SERVER_SECONDS,
        "max_retries": 0,
        "interval_start": 0,
    }
else:
    # The folders must exist before the broker is used; kombu does not make them.
    CELERY_BROKER_TRANSPORT_OPTIONS = {
        "data_folder_in": str(VAR_DIR / "broker"),
        "data_folder_out": str(VAR_DIR / "broker"),
        "control_folder": str(VAR_DIR / "broker-control"),
        "store_processed": False,
    }
    for folder in ("broker", "broker-control"):
        (VAR_DIR / folder).mkdir(parents=True, exist_ok=True)

# --- People -----------------------------------------------------------------------------------

AUTH_USER_MODEL = "accounts.User"
AUTHENTICATION_BACKENDS = ["allauth.account.auth_backends.AuthenticationBackend"]
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.UserAttributeSimilarityValidator"},
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator", "OPTIONS": {"min_length": 10}},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
]
LOGIN_URL = "account_login"
LOGIN_REDIRECT_URL = "/"
LOGOUT_REDIRECT_URL = "/"

EMAIL_CONFIG = environ.Env.email_url_config(env.text("EMAIL_URL", "consolemail://"))
vars().update(EMAIL_CONFIG)
DEFAULT_FROM_EMAIL = env.text("DEFAULT_FROM_EMAIL", "DigitalMe <digitalme@localhost>")

ACCOUNT_USER_MODEL_USERNAME_FIELD = None
ACCOUNT_LOGIN_METHODS = {"email"}
ACCOUNT_SIGNUP_FIELDS = ["email*", "password1*", "password2*"]
ACCOUNT_EMAIL_VERIFICATION = env.text("ACCOUNT_EMAIL_VERIFICATION", "optional")
ACCOUNT_LOGOUT_ON_PASSWORD_CHANGE = True
ACCOUNT_SESSION_REMEMBER = True
MFA_SUPPORTED_TYPES = ["totp", "recovery_codes"]
MFA_TOTP_ISSUER = "DigitalMe"

# --- Keys -------------------------------------------------------------------------------------

ROTATE_KEYS_AFTER_DAYS = env.number("DIGITALME_ROTATE_KEYS_AFTER_DAYS", 0)  # 0: only where a day is set by hand

# How many tests of keys one address, and all people together, may ask for within an hour: found keys are tried out
# elsewhere.
KEY_TESTS_PER_ADDRESS = env.number("DIGITALME_KEY_TESTS_PER_ADDRESS", 30, least=1)
KEY_TESTS_PER_HOUR = env.number("DIGITALME_KEY_TESTS_PER_HOUR", 1000, least=1)

# --- How often somebody may ask ---------------------------------------------------------------------

# Requests a minute, and as many at once; 0 is without limit. A person's tokens share what the person has.
THROTTLES = {
    "gateway.token": env.number("DIGITALME_GATEWAY_RATE_PER_TOKEN", 120_000, least=0),
    "gateway.user": env.number("DIGITALME_GATEWAY_RATE_PER_USER", 240_000, least=0),
    "gateway.address": env.number("DIGITALME_GATEWAY_RATE_PER_ADDRESS", 480_000, least=0),
    "api.token": env.number("DIGITALME_API_RATE_PER_TOKEN", 600, least=0),
    "api.user": env.number("DIGITALME_API_RATE_PER_USER", 600, least=0),
    "api.address": env.number("DIGITALME_API_RATE_PER_ADDRESS", 1200, least=0),
    "api.key_tests": 10,
    "api.webhook_tests": 10,
    "api.schema": 30,
    "login.address": env.number("DIGITALME_SIGN_IN_RATE_PER_ADDRESS", 30, least=0),
}
THROTTLE_REDIS_URL = REDIS_URL

# --- Language, time, files --------------------------------------------------------------------

LANGUAGE_CODE = "en"
USE_I18N = True
USE_TZ = True
TIME_ZONE = "UTC"
STATIC_URL = "static/"
WHITENOISE_AUTOREFRESH = DEBUG
WHITENOISE_ALLOW_ALL_ORIGINS = False
# From a clone the files are served where they lie; an image gathers and compresses them when it is built.
STATIC_FROM_SOURCE = WHITENOISE_USE_FINDERS = env.flag("STATIC_FROM_SOURCE", True)
if not STATIC_FROM_SOURCE:
    STATIC_ROOT = BASE_DIR / "staticfiles"
    STORAGES = {
        "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
        "staticfiles": {"BACKEND": "whitenoise.storage.CompressedManifestStaticFilesStorage"},
    }
# Not below anything that is served: whoever asked for an export gets it through a page that knows them.
DIGITALME_EXPORTS_DIR = Path(env.text("DIGITALME_EXPORTS_DIR", str(VAR_DIR / "exports")))
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

# --- Browser rules ----------------------------------------------------------------------------

CONTENT_SECURITY_POLICY = {
    "DIRECTIVES": {
        "default-src": ["'none'"],
        "script-src": ["'self'"],
        "style-src": ["'self'"],
        "img-src": ["'self'", "data:"],
        "font-src": ["'self'"],
        "connect-src": ["'self'"],
        "form-action": ["'self'"],
        "manifest-src": ["'self'"],
        "object-src": ["'none'"],
        "base-uri": ["'none'"],
        "frame-ancestors": ["'none'"],
    }
}
_HTTPS = SITE_URL.startswith("https://")
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = _HTTPS
SESSION_COOKIE_HTTPONLY = True
SESSION_COOKIE_SAMESITE = CSRF_COOKIE_SAMESITE = "Lax"
SECURE_HSTS_SECONDS = env.number("SECURE_HSTS_SECONDS", 31536000 if _HTTPS else 0)
SECURE_SSL_REDIRECT = env.flag("SECURE_SSL_REDIRECT", False)
SECURE_REDIRECT_EXEMPT = [r"^healthz$", r"^readyz$"]
SECURE_REFERRER_POLICY = "same-origin"
SECURE_CROSS_ORIGIN_OPENER_POLICY = "same-origin"
X_FRAME_OPTIONS = "DENY"

# --- Server -----------------------------------------------------------------------------------

# Addresses or networks whose X-Forwarded-For and -Proto are believed. The server puts them into the
# connection's own facts, so nothing below it reads such a header.
TRUSTED_PROXIES = env.listing("TRUSTED_PROXIES")
WEB_PROCESSES = env.number("WEB_PROCESSES", 1)
GRACEFUL_SECONDS = env.number("GRACEFUL_SECONDS", 25)

# --- API --------------------------------------------------------------------------------------

REST_FRAMEWORK: dict[str, Any] = {
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "DEFAULT_PARSER_CLASSES": ["rest_framework.parsers.JSONParser"],
    "DEFAULT_AUTHENTICATION_CLASSES": [
        "digitalme.api.authentication.AccessTokenAuthentication",
        "rest_framework.authentication.SessionAuthentication",
    ],
    "DEFAULT_PERMISSION_CLASSES": ["digitalme.api.authentication.HasScope"],
    "DEFAULT_FILTER_BACKENDS": ["django_filters.rest_framework.DjangoFilterBackend"],
    "DEFAULT_SCHEMA_CLASS": "drf_spectacular.openapi.AutoSchema",
    "EXCEPTION_HANDLER": "digitalme.api.errors.handle",
    "TEST_REQUEST_DEFAULT_FORMAT": "json",
}
SPECTACULAR_SETTINGS = {
    "TITLE": "DigitalMe API",
    "DESCRIPTION": "Keys, quotas and usage of the signed-in user.",
    "VERSION": "1",
    "SERVE_INCLUDE_SCHEMA": False,
    "SWAGGER_UI_DIST": "SIDECAR",
    "SWAGGER_UI_FAVICON_HREF": "SIDECAR",
    "SERVE_PERMISSIONS": ["rest_framework.permissions.AllowAny"],
    "COMPONENT_SPLIT_REQUEST": True,
    "POSTPROCESSING_HOOKS": [
        "drf_spectacular.hooks.postprocess_schema_enums",
        "digitalme.api.docs.describe_problems",
    ],
    "ENUM_NAME_OVERRIDES": {
        "TokenStateEnum": ["active", "expired", "revoked"],
        "DeliveryStateEnum": "digitalme.notifications.models.Delivery.State",
        "KeySourceEnum": ["user", "team", "system"],
        "RecordKeySourceEnum": "digitalme.api.records.SOURCES",
        "KeyStatusEnum": "apikeys.models.Credential.Status",
        "RecordStatusEnum": "usage.models.UsageRecord.Status",
        "ExportStateEnum": "usage.models.Export.State",
    },
}

# --- Logs -------------------------------------------------------------------------------------

LOG_LEVEL = env.text("LOG_LEVEL", "INFO").upper()
LOGGING: dict[str, Any] = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"structured": {"()": "digitalme.logs.formatter"}},
    "handlers": {
        "stderr": {"class": "logging.StreamHandler", "formatter": "structured"},
    },
    "root": {"handlers": ["stderr"], "level": LOG_LEVEL},
    # The HTTP clients print whole addresses, and the database layer prints parameters: a level of
    # their own keeps both quiet even when everything else is at DEBUG.
    "loggers": {
        name: {"level": "WARNING"}
        for name in ("urllib3", "httpx", "httpx2", "httpcore", "httpcore2", "django.db.backends", "asyncio")
    }
    # Django's own set-up gives its loggers handlers that redact nothing; naming them here takes these away.
    | {name: {"handlers": [], "propagate": True} for name in ("django", "django.server")},
}
DEFAULT_EXCEPTION_REPORTER = "digitalme.error_reports.Reporter"
DEFAULT_EXCEPTION_REPORTER_FILTER = "digitalme.error_reports.Filter"
SENTRY_DSN = env.text("SENTRY_DSN", "")
if SENTRY_DSN:
    sentry.start(SENTRY_DSN)
SILENCED_SYSTEM_CHECKS = [
    "auth.W004",  # addresses are unique in any case: a constraint of the model
    "security.W005",  # other names below the domain are not ours to bind to TLS
    "security.W021",  # nor to enter into the browsers' lists
]
IGNORABLE_404_URLS = [re.compile(r"^/favicon\.ico$")]
