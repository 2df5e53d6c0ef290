"""Chapter 5: what the model does when it cannot know, and what that says about it."""
