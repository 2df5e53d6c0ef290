-- A filter of the book's own: drops blocks marked .x-drop before anything is numbered.
function Div(div)
  if div.classes:includes("x-drop") then return {} end
end
