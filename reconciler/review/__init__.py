"""A reviewed plan in words: what a person reads on a terminal or under a pull request.

Pure, and apart from the command line, so that whatever comments on pull requests says the same.
"""
