"""Forges: where pull requests are open, and are told what they would do.

``port`` says what is asked of one; ``github`` asks it of GitHub, and of Gitea and Forgejo, which
took over most of its API, and ``gitlab`` of GitLab, both by way of ``rest``. What a forge answers
is input from outside: bounded, and each value against its form.
"""
