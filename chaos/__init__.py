"""Sends servers what clients and machines do wrong, and checks that every answer is right all the same."""
