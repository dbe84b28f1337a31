"""The networks that listen: is this speech, and is the turn over?"""
