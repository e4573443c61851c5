"""The product's settings, with keys made for the tests and nothing that waits or sends.

DATABASE_URL and REDIS_URL choose the servers, as in production; `python -m tests.run` sets them.
"""

import atexit
import base64
import os
import shutil
import tempfile
from pathlib import Path

os.environ["DIGITALME_ENV_FILE"] = ""  # a developer's own .env has no say here
os.environ.setdefault("SECRET_KEY", "only-for-the-tests-" + "x" * 40)
os.environ.setdefault("DIGITALME_MASTER_KEYS", "test:" + base64.b64encode(os.urandom(32)).decode())
os.environ.setdefault("DIGITALME_FINGERPRINT_KEY", base64.b64encode(os.urandom(32)).decode())
os.environ.setdefault("DIGITALME_AUDIT_KEY", base64.b64encode(os.urandom(32)).decode())
if "DIGITALME_VAR_DIR" not in os.environ:
    os.environ["DIGITALME_VAR_DIR"] = tempfile.mkdtemp(prefix="digitalme-tests-")
    atexit.register(shutil.rmtree, os.environ["DIGITALME_VAR_DIR"], ignore_errors=True)

from digitalme.settings import *  # noqa: F403
from digitalme.settings import CACHES, DATABASES, REDIS_URL, VAR_DIR

PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
EMAIL_BACKEND = "django.core.mail.backends.locmem.EmailBackend"
# A file is looked for when it is asked for: to list them all costs each test client more than its request.
WHITENOISE_AUTOREFRESH = True
CELERY_TASK_ALWAYS_EAGER = True
CELERY_TASK_EAGER_PROPAGATES = True

if DATABASES["default"]["ENGINE"].endswith("sqlite3"):
    # A file, as in production: SQLite's shared memory database knows no waiting for a lock.
    DATABASES["default"]["TEST"] = {"NAME": str(Path(VAR_DIR) / "tests.sqlite3")}
else:
    # A connection of one test must not be found by the next, whose database may be another.
    DATABASES["default"]["CONN_MAX_AGE"] = 0

THROTTLE_REDIS_URL = ""  # one test's requests are nothing that the next one hears of
if REDIS_URL:
    # The tests empty their cache: they get a database of their own on the server.
    CACHES["default"]["LOCATION"] = (
        REDIS_URL.rsplit("/", 1)[0] + "/15" if REDIS_URL.count("/") > 2 else f"{REDIS_URL}/15"
    )
