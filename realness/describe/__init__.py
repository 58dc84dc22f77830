"""Describe images in one sentence each, by a vision-language model or without one."""
