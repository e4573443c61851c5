"""The product's settings, with keys made for the tests and nothing that waits or sends."""

import base64
import os
import tempfile

os.environ.setdefault("SECRET_KEY", "only-for-the-tests-" + "x" * 40)
os.environ.setdefault("DIGITALME_MASTER_KEYS", "test:" + base64.b64encode(os.urandom(32)).decode())
os.environ.setdefault("DIGITALME_FINGERPRINT_KEY", base64.b64encode(os.urandom(32)).decode())
os.environ.setdefault("DIGITALME_AUDIT_KEY", base64.b64encode(os.urandom(32)).decode())
os.environ.setdefault("DIGITALME_VAR_DIR", tempfile.mkdtemp(prefix="digitalme-tests-"))

from digitalme.settings import *  # noqa: F403

PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
EMAIL_BACKEND = "django.core.mail.backends.locmem.EmailBackend"
CELERY_TASK_ALWAYS_EAGER = True
CELERY_TASK_EAGER_PROPAGATES = True
