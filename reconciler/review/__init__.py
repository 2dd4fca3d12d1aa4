"""The review of a plan, as text for terminals and pull requests.

Pure, and apart from the command line, so that whatever comments on pull requests says the same.
"""
