"""What people are told: an inbox, mails, signed webhooks; each as its reader wants it."""
